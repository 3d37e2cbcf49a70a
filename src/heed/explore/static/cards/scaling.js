// Why scores are divided by the root of the width: heed's explore/scaling.py.
import { normals, range, shaped } from "../algebra.js";
import { said } from "../words.js";

const DRAWS = 40, MOST = 128, NORMALS = shaped(normals(DRAWS * MOST, 1), MOST);
const WIDTHS = range(11).map(i => 2 ** i);

// Entropy, largest weight and norm of the Jacobian diag(w) - w w^T: means over draws of scores ~ N(0, deviation^2)
export function saturation(deviation, keys) {
  let entropy = 0, most = 0, gradient = 0;
  for (const row of NORMALS) {
    let top = -Infinity, total = 0, weighted = 0, squares = 0, cubes = 0;
    for (let i = 0; i < keys; i++) top = Math.max(top, deviation * row[i]);
    for (let i = 0; i < keys; i++) {
      const s = deviation * row[i] - top, power = Math.exp(s);
      total += power; weighted += power * s; squares += power ** 2; cubes += power ** 3;
    }
    squares /= total ** 2;
    entropy += Math.log(total) - weighted / total;
    most += 1 / total;
    gradient += Math.sqrt(Math.max(0, squares - 2 * cubes / total ** 3 + squares ** 2));
  }
  return { deviation, entropy: entropy / DRAWS, largest: most / DRAWS, gradient: gradient / DRAWS };
}

// Standard deviation over keys of the scores of one query, in the mean of squares over queries
const deviationOf = (K, { mu, sigma }) => sigma * Math.sqrt(K * sigma ** 2 + K * mu ** 2);

export const scaling = {
  title: "Why divide by √K",
  lead: "Drag the line to another width K. Without the division softmax gives all weight to one key, and its gradients vanish.",
  start: { width: 64, sigma: 1, mu: 0, keys: 32 },
  controls: [
    { name: "width", kind: "range", words: "Width K of queries and keys", low: 1, high: 1024, step: 1, log: true },
    { name: "sigma", kind: "range", words: "Deviation σ of their numbers", low: 0.25, high: 2, step: 0.05 },
    { name: "mu", kind: "range", words: "Mean μ of each number", low: -1, high: 1, step: 0.05 },
    { name: "keys", kind: "range", words: "Keys n", low: 2, high: MOST, step: 1 },
  ],
  compute(state) {
    const { width, mu, sigma, keys } = state, deviation = deviationOf(width, state);
    return {
      mean: width * mu ** 2, variance: width * sigma ** 4 + 2 * sigma ** 2 * width * mu ** 2,
      plain: saturation(deviation, keys), scaled: saturation(deviation / Math.sqrt(width), keys),
    };
  },
  inputs: ({ keys }) => NORMALS.map(row => row.slice(0, keys)),
  equations: ({ keys, width }, n) => [
    ["E q·k = |μ|^2", said(n.mean)],
    ["Var q·k = K σ^4 + 2 σ^2 |μ|^2", `${said(n.variance)}, of q·k / √K ${said(n.variance / width)}`],
    ["deviation over keys, plain and scaled", `${said(n.plain.deviation)} and ${said(n.scaled.deviation)}`],
    [`entropy of at most ln ${keys} = ${said(Math.log(keys))} nats`, `${said(n.plain.entropy)} and ${said(n.scaled.entropy)}`],
    ["largest weight", `${said(n.plain.largest)} and ${said(n.scaled.largest)}`],
    ["|diag(w) - w w^T|, the gradient", `${said(n.plain.gradient)} and ${said(n.scaled.gradient)}`],
  ],
  say: ({ mu }, n) => `The variance of q·k grows with the width, so without the division the weights go to one key and the norm of the gradient goes to 0: it vanishes, it does not explode.${mu === 0 ? "" : " With a mean that is not 0 the division takes the width out of the deviation over keys, but not out of the mean of the scores."}`,
  draw(state, n) {
    const at = WIDTHS.map(K => [K, saturation(deviationOf(K, state), state.keys), n.scaled]); // which no width changes
    const line = (name, css, which, of, dashed) => ({ name, css, dashed, points: at.map(row => [row[0], of(row[which])]) });
    const share = s => s.entropy / Math.log(state.keys), gradient = s => s.gradient;
    return {
      kind: "lines", title: "Entropy and gradient of softmax over the width", caption: `Solid: entropy as a share of ln ${state.keys}. Dashed: norm of the gradient. Means over ${DRAWS} draws.`,
      x: { low: 1, high: 1024, log: true, words: "width K" }, y: { low: 0, high: 1, words: "share of ln n; norm" },
      series: [line("entropy, scaled", "s1", 2, share), line("entropy, plain", "s2", 1, share), line("gradient, scaled", "s1", 2, gradient, true), line("gradient, plain", "s2", 1, gradient, true)],
      marker: { x: state.width, values: [share(n.scaled), share(n.plain), gradient(n.scaled), gradient(n.plain)], move: width => ({ width: Math.max(1, Math.round(width)) }) },
    };
  },
};

// Random features in the place of the exponential (Performer): heed's explore/kernel.py.
import { dot, norm, normals, plus, product, range, scaled, shaped, sum, transposed, zeros } from "../algebra.js";
import { Wrong, said } from "../words.js";

const WIDTH = 4, TOKENS = 8, MOST = 256, DRAWS = 5, COUNTS = [2, 4, 8, 16, 32, 64, 128, 256];

// phi(q).phi(k) with m features of vectors w, for each of several m. A vector makes of x, before the division by the root
// of their number, exp(w.x - |x|^2/2), or both exp(|x|^2/2) sin w.x and exp(|x|^2/2) cos w.x
export function estimates(kind, q, k, w, counts) {
  const X = [...q, ...k].map(x => scaled(x, q[0].length ** -0.25)), positive = kind === "positive", parts = positive ? 1 : 2;
  const sizes = X.map(x => Math.exp(dot(x, x) / (positive ? -2 : 2))), phi = zeros(parts, X.length), total = zeros(q.length, k.length), found = {};
  w.forEach((vector, f) => {
    for (let i = 0; i < X.length; i++) {
      const s = dot(vector, X[i]);
      phi[0][i] = sizes[i] * (positive ? Math.exp(s) : Math.sin(s));
      if (!positive) phi[1][i] = sizes[i] * Math.cos(s);
    }
    for (let part = 0; part < parts; part++) for (let i = 0; i < q.length; i++) for (let j = 0; j < k.length; j++) {
      total[i][j] += phi[part][i] * phi[part][q.length + j];
    }
    if (counts.includes((f + 1) * parts)) found[(f + 1) * parts] = total.map(row => scaled(row, 1 / (f + 1)));
  });
  return found;
}

// Rows of a block of `width` at right angles (Gram and Schmidt), each as long as another random vector
function orthogonalised(rows) {
  const made = [];
  rows.forEach((row, i) => {
    const block = made.slice(i - i % WIDTH);
    const left = block.reduce((rest, other) => plus(rest, other, -dot(rest, other)), row);
    made.push(scaled(left, 1 / norm(left)));
  });
  return made.map((row, i) => scaled(row, norm(rows[(i + WIDTH) % rows.length])));
}

// Medians over draws of the vectors, by number of features
function figuresOf(kind, { q, k, v, draws }, counts) {
  const exact = product(q, transposed(k)).map(row => row.map(s => Math.exp(s / Math.sqrt(WIDTH))));
  const mix = W => product(W.map(row => scaled(row, 1 / sum(row))), v).flat(), right = mix(exact);
  const rms = numbers => Math.sqrt(sum(numbers.map(x => x * x)) / numbers.length);
  const median = numbers => [...numbers].sort((x, y) => x - y)[(numbers.length - 1) / 2];
  const vectors = Math.max(...counts) / (kind === "positive" ? 1 : 2);
  const all = draws.map(w => estimates(kind, q, k, w.slice(0, vectors), counts));
  return Object.fromEntries(counts.map(m => [m, {
    kernel_error: median(all.map(found => rms(found[m].flatMap((row, i) => row.map((x, j) => x / exact[i][j] - 1))))),
    output_error: median(all.map(found => rms(plus(mix(found[m]), right, -1)) / rms(right))),
    negative: sum(all.map(found => found[m].flat().filter(x => x < 0).length / (TOKENS * TOKENS))) / DRAWS,
  }]));
}
function inputsOf({ spread, orthogonal, seed }) {
  const [q, k, v] = range(3).map(i => shaped(normals(TOKENS * WIDTH, 3 * seed + i), WIDTH));
  const draws = range(DRAWS).map(i => shaped(normals(MOST * WIDTH, 1000 * seed + i), WIDTH)).map(w => orthogonal ? orthogonalised(w) : w);
  return { q: q.map(x => scaled(x, spread)), k: k.map(x => scaled(x, spread)), v, draws };
}

// The curves hang on no number of features, so that they are kept while it is dragged
let kept = {};
function curvesOf(state) {
  const key = [state.spread, state.orthogonal, state.seed].join();
  if (kept.key !== key) {
    const inputs = inputsOf(state);
    kept = { key, inputs, curves: Object.fromEntries(["positive", "trigonometric"].map(kind => [kind, figuresOf(kind, inputs, COUNTS)])) };
  }
  return kept;
}

export const kernel = {
  title: "Random features for the exponential",
  lead: "Performer replaces e^{q·k / √K} by a product of random features. Drag the line: how many features are enough?",
  start: { features: 32, spread: 0.75, orthogonal: true, seed: 1 },
  controls: [
    { name: "features", kind: "range", words: "Features m (even)", low: 2, high: MOST, step: 2 },
    { name: "spread", kind: "range", words: "Deviation of queries and keys", low: 0.1, high: 2, step: 0.05 },
    { name: "orthogonal", kind: "check", words: "Orthogonal vectors w" },
    { name: "seed", kind: "range", words: "Which draw", low: 1, high: 50, step: 1 },
  ],
  compute(state) {
    if (state.features % 2) throw new Wrong(`features: sines and cosines come in pairs, take ${state.features + 1}`);
    const { inputs, curves } = curvesOf(state), m = state.features;
    const now = kind => curves[kind][m] ?? figuresOf(kind, inputs, [m])[m];
    return { positive: now("positive"), trigonometric: now("trigonometric"), curves };
  },
  inputs: inputsOf,
  equations: ({ features }, n) => [
    ["e^{q·k / √K} ≈ φ(q)·φ(k)", `K = ${WIDTH}, ${TOKENS} tokens, m = ${features}`],
    ["φ = e^{w·x − |x|²/2} / √m, error", `${said(100 * n.positive.kernel_error)} % of the kernel, ${said(100 * n.positive.output_error)} % of the output`],
    ["φ = e^{|x|²/2} √(2/m) (sin w·x, cos w·x)", `${said(100 * n.trigonometric.kernel_error)} % of the kernel, ${said(100 * n.trigonometric.output_error)} % of the output`],
    ["weights below 0", `positive ${said(100 * n.positive.negative)} %, trigonometric ${said(100 * n.trigonometric.negative)} %`],
  ],
  say: (state, n) => `φ(q)·φ(k) is the weight itself, there is no second exponential. Both kinds are right in the mean; trigonometric ones give negative weights (${said(100 * n.trigonometric.negative)} % here), so a denominator may come near 0, and the number of features that is needed grows exponentially with |q + k|².`,
  draw(state, n) {
    const line = (kind, css) => ({ name: kind, css, points: COUNTS.map(m => [m, Math.max(1e-3, n.curves[kind][m].kernel_error)]) });
    return {
      kind: "lines", title: "Error of the kernel over the number of features", caption: `Root mean square of the relative error over all pairs, medians over ${DRAWS} draws of features; both axes are logarithmic.`,
      x: { low: 2, high: MOST, log: true, words: "features m" }, y: { low: 1e-2, high: 1e2, log: true, words: "relative error" },
      series: [line("positive", "s1"), line("trigonometric", "s2")],
      marker: { x: state.features, values: [n.positive.kernel_error, n.trigonometric.kernel_error], move: m => ({ features: 2 * Math.max(1, Math.round(m / 2)) }) },
    };
  },
};

// One head against several under keys of random length: heed's explore/random_keys.py, in closed form.
import { normalBelow, range } from "../algebra.js";
import { said, vectorSaid } from "../words.js";

const QUANTILES = [-1.6448536269514722, 0, 1.6448536269514722]; // g at 5, 50 and 95 %
const EDGES = range(16001).map(i => -8 + i / 1000), BELOW = EDGES.map(normalBelow);
const CHANCES = BELOW.slice(1).map((p, i) => p - BELOW[i]);

// Weights of the first key, the second, and one of the others, when the first key has length f, written into `w`
function weigh(w, f, heads, n, beta) {
  const a = beta * f;
  if (heads === 1) {
    const top = Math.max(a, beta, 0), x = Math.exp(a - top), y = Math.exp(beta - top), z = Math.exp(-top), total = x + y + (n - 2) * z;
    w[0] = x / total; w[1] = y / total; w[2] = z / total;
    return w;
  }
  const top = Math.max(a, 0), x = Math.exp(a - top), z = Math.exp(-top), total = x + (n - 1) * z; // asks for the first key
  const y = 1 / (1 + (n - 1) * Math.exp(-beta)), rest = Math.exp(-beta) * y; // asks for the second
  w[0] = (x / total + rest) / 2; w[1] = (z / total + y) / 2; w[2] = (z / total + rest) / 2;
  return w;
}
const weightsOf = (f, heads, n, beta) => weigh([0, 0, 0], f, heads, n, beta);

function figuresOf(heads, { n, beta, spread, tolerance }) {
  const root = Math.sqrt(spread), w = [0, 0, 0];
  let failing = 0;
  for (let i = 0; i < CHANCES.length; i++) {
    weigh(w, 1 + root * (EDGES[i] + EDGES[i + 1]) / 2, heads, n, beta);
    if (Math.abs(w[0] - 0.5) > tolerance || Math.abs(w[1] - 0.5) > tolerance || (n > 2 && w[2] > tolerance)) failing += CHANCES[i];
  }
  return { quantiles: QUANTILES.map(g => weightsOf(1 + root * g, heads, n, beta)[0]), failing };
}

export const heads = {
  title: "One head swings, two heads hold",
  lead: "Two of n values are to be averaged, and one of the two keys has a random length. Drag the line to give it another.",
  puzzle: "practical-two-heads",
  start: { length: 1.2, n: 4, beta: 70, spread: 0.5, tolerance: 0.05 },
  controls: [
    { name: "length", kind: "range", words: "Length f of the key", low: -1, high: 3, step: 0.01 },
    { name: "beta", kind: "range", words: "Scale β of the queries", low: 1, high: 200, step: 1 },
    { name: "n", kind: "range", words: "Keys n", low: 2, high: 128, step: 1 },
    { name: "spread", kind: "range", words: "Variance of the length", low: 0.01, high: 2, step: 0.01 },
    { name: "tolerance", kind: "range", words: "Tolerance", low: 0.005, high: 0.4, step: 0.005 },
  ],
  compute(state) {
    const now = h => weightsOf(state.length, h, state.n, state.beta);
    return { one: figuresOf(1, state), two: figuresOf(2, state), weights: [now(1), now(2)], backwards: normalBelow(-1 / Math.sqrt(state.spread)) };
  },
  equations: (state, n) => [
    ["one head: q = β (μ_a + μ_b)", `w_a = ${said(n.weights[0][0])}, w_b = ${said(n.weights[0][1])}`],
    ["two heads: β μ_a and β μ_b", `w_a = ${said(n.weights[1][0])}, w_b = ${said(n.weights[1][1])}`],
    ["w_a at 5, 50, 95 % of the draws, one head", vectorSaid(n.one.quantiles)],
    ["the same, two heads", vectorSaid(n.two.quantiles)],
    ["draws beyond the tolerance", `one head ${percent(n.one.failing)}, two heads ${percent(n.two.failing)}`],
    ["P(f < 0) = Φ(-1 / √variance)", percent(n.backwards)],
  ],
  say: (state, n) => `One head gives its weight to the longer key. Two heads ask for one key each, and a softmax over one large score does not depend on its size; they fail where the key is short or points backwards, in ${percent(n.two.failing)} of the draws.`,
  draw(state, n) {
    const xs = range(201).map(i => -1 + 4 * i / 200);
    return {
      kind: "lines", title: "Weight of the key over its length", caption: `Grey: how often each length comes. Dashed: the wanted weight.`,
      x: { low: -1, high: 3, words: "length f of the key" }, y: { low: 0, high: 1, words: "its weight" },
      series: [1, 2].map(h => ({ name: h === 1 ? "one head" : "two heads", css: `s${h}`, points: xs.map(f => [f, weightsOf(f, h, state.n, state.beta)[0]]) })),
      rule: 0.5, area: xs.map(f => [f, 0.3 * Math.exp(-((f - 1) ** 2) / 2 / state.spread)]),
      marker: { x: state.length, values: [n.weights[0][0], n.weights[1][0]], move: length => ({ length }) },
    };
  },
};
const percent = share => `${said(100 * share)} %`;

// Hard attention, what its gradients reach, and straight-through beside it: heed's explore/hard.py.
import { dot, norm, outer, plus, range, softmax, times, transposed, zeros } from "../algebra.js";
import { matrixSaid, said, vectorSaid } from "../words.js";

export function hardAttention(q, K, V, g) {
  const scores = times(K, q), chosen = scores.indexOf(Math.max(...scores)), ranked = [...scores].sort((a, b) => b - a);
  const w = softmax(scores), one = zeros(K.length).map((_, i) => i === chosen ? 1 : 0), soft = times(transposed(V), w);
  const through = V.map((v, i) => w[i] * dot(plus(v, soft, -1), g));
  const gradients = (ofScores, weights) => ({ query: times(transposed(K), ofScores), keys: outer(ofScores, q), values: outer(weights, g) });
  return {
    scores, chosen, lead: ranked[0] - ranked[1], output: V[chosen], soft_output: soft,
    hard: gradients(zeros(K.length), one), straight_through: gradients(through, one), soft: gradients(through, w),
  };
}
const PLACES = ["first", "second", "third"];
const size = gradient => norm([gradient].flat(2));

export const hard = {
  title: "Hard attention does not train",
  lead: "The output is the value of the best key alone. Drag the line: one number of the query changes, and the output stands still, or jumps.",
  puzzle: "hw6-hard-output",
  start: {
    query: [-2, 1, 1], keys: [[0, 1, 2], [1, 1, 2], [-1, 1, -2], [0, -1, -2]], values: [[3, 2, -4], [3, -2, 4], [3, 2, 0], [3, 2, 4]],
    gradient: [1, 1, 1], component: "2",
  },
  controls: [
    { name: "component", kind: "choice", words: "Number of the query that the line moves", choices: PLACES },
    { name: "query", kind: "vector", words: "Query", width: 3 },
    { name: "keys", kind: "matrix", words: "Keys", width: 3, least: 4, most: 4 },
    { name: "values", kind: "matrix", words: "Values", width: 3, least: 4, most: 4 },
    { name: "gradient", kind: "vector", words: "Gradient g of the output", width: 3 },
  ],
  compute: ({ query, keys, values, gradient }) => hardAttention(query, keys, values, gradient),
  equations: (state, n) => [
    ["s_i = q · k_i", vectorSaid(n.scores)],
    ["y = v_j, j the best key", `v_${n.chosen} = ${vectorSaid(n.output)}`],
    ["softmax instead", vectorSaid(n.soft_output)],
    ["dL/dq hard", vectorSaid(n.hard.query)],
    ["dL/dq straight-through", vectorSaid(n.straight_through.query)],
    ["dL/dq of softmax", vectorSaid(n.soft.query)],
    ["dL/dV hard", matrixSaid(n.hard.values)],
    ["|dL/dq|, |dL/dK|, |dL/dV| hard", ["query", "keys", "values"].map(name => said(size(n.hard[name]))).join(", ")],
    ["the same, straight-through", ["query", "keys", "values"].map(name => said(size(n.straight_through[name]))).join(", ")],
  ],
  say: (state, n) => `Key ${n.chosen} leads by ${said(n.lead)}, and no smaller change of a score moves the output: the gradients of the query and of all keys are exactly 0, only the chosen value learns. Straight-through takes the gradient of softmax for the scores.`,
  draw({ query, keys, values, gradient, component }) {
    const c = Number(component), reach = Math.max(4, Math.ceil(Math.abs(query[c]) + 1)), xs = range(241).map(i => -reach + 2 * reach * i / 240);
    const worth = values.map(v => dot(v, gradient)), rest = keys.map(k => dot(k, query) - k[c] * query[c]);
    const at = (x, soft) => { const scores = keys.map((k, i) => rest[i] + k[c] * x); return soft ? dot(softmax(scores), worth) : worth[scores.indexOf(Math.max(...scores))]; };
    const curves = [false, true].map(soft => xs.map(x => [x, at(x, soft)])), all = curves.flat().map(([, y]) => y);
    const low = Math.min(...all), high = Math.max(...all), room = 0.08 * (high - low || 1);
    return {
      kind: "lines", title: "g · y over one number of the query, hard and soft", caption: "A flat line has no slope: that is the gradient which the query gets.",
      x: { low: -reach, high: reach, words: `${PLACES[c]} number of the query` }, y: { low: low - room, high: high + room, words: "g · y" },
      series: [{ name: "hard", css: "s2", points: curves[0] }, { name: "softmax", css: "s1", points: curves[1] }],
      marker: { x: query[c], values: [at(query[c], false), at(query[c], true)], move: x => ({ query: query.map((old, i) => i === c ? x : old) }) },
    };
  },
};

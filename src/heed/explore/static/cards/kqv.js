// K, Q and V by outer products, so that inputs get the outputs that they should: heed's explore/kqv.py.
import { identity, largest, plus, product, rank, scaled, softmax, transposed, zeros } from "../algebra.js";
import { Wrong, said, vectorSaid } from "../words.js";

const [A, B, C, D] = identity(4), AXES = ["a", "b", "c", "d"];
const INPUTS = [plus(D, B), A, plus(C, B)], WANTED = [plus(B, C, -1), B]; // x_1, x_2, x_3; of c_1 and c_2
const OUTER = (to, from) => to.map(x => from.map(y => x * y));
const added = (M, N, factor = 1) => M.map((row, i) => plus(row, N[i], factor));
const ANSWER = { Q: added(OUTER(D, A), OUTER(C, D)), V: added(OUTER(B, B), OUTER(C, C), -1) };

const rounded = (c, beta) => c.map(x => Number((x / beta).toFixed(4)));

export const kqv = {
  title: "Matrices that send each where it should go",
  lead: "x_1 = u_d + u_b, x_2 = u_a, x_3 = u_c + u_b, and K = I. Write Q and V so that c_1 = u_b − u_c and c_2 = u_b.",
  puzzle: "practical-kqv",
  start: { Q: identity(4), V: identity(4), beta: 4 },
  controls: [
    { name: "examples", kind: "examples", words: "Begin with", examples: { "Identities": { Q: identity(4), V: identity(4) }, "Zeros": { Q: zeros(4, 4), V: zeros(4, 4) }, "The outer products": ANSWER } },
    { name: "beta", kind: "range", words: "Length β of the u", low: 0.5, high: 8, step: 0.1 },
    { name: "Q", kind: "matrix", words: "Q in the basis u_a, u_b, u_c, u_d", width: 4, least: 4, most: 4 },
    { name: "V", kind: "matrix", words: "V in the same basis", width: 4, least: 4, most: 4 },
  ],
  compute({ Q, V, beta }) {
    const X = INPUTS.map(x => scaled(x, beta)), queries = product(X, transposed(Q)), values = product(X, transposed(V));
    const scores = product(queries, transposed(X));
    if (largest(scores) > 1e15) throw new Wrong("Q: scores are beyond what a float tells apart");
    const weights = scores.map(softmax), outputs = product(weights, values);
    const wanted = WANTED.map(c => scaled(c, beta));
    return { scores, weights, outputs, error: largest(wanted.map((c, i) => plus(outputs[i], c, -1))), ranks: [4, rank(Q), rank(V)] };
  },
  equations: ({ beta }, n) => [
    ["s_ij = x_j^T Q x_i of x_1", vectorSaid(n.scores[0])],
    ["s of x_2", vectorSaid(n.scores[1])],
    ["c_1 / β, wanted u_b - u_c", vectorSaid(rounded(n.outputs[0], beta))],
    ["c_2 / β, wanted u_b", vectorSaid(rounded(n.outputs[1], beta))],
    ["largest error / β", said(n.error / beta)],
    ["ranks of K, Q, V", n.ranks.join(", ")],
  ],
  say: ({ beta }, n) => `${n.error / beta < 0.01 ? "Q and V do it." : "Not yet: the outputs are not what is wanted."} An outer product u vᵀ sends v to u and all at right angles to v to 0, so a matrix needs a rank of as many directions as it sends; the weights are hard only where β² is large.`,
  draw: ({ beta }, n) => ({
    kind: "heat", title: "Weights of each input, and outputs in units of β", caption: "Blue: above 0. Orange: below. Only c1 and c2 are asked for.",
    matrices: [
      { name: "weights", values: n.weights, rows: ["x_1", "x_2", "x_3"], columns: ["x_1", "x_2", "x_3"] },
      { name: "outputs / β", values: n.outputs.map(c => scaled(c, 1 / beta)), rows: ["c_1", "c_2", "c_3"], columns: AXES.map(axis => `u_${axis}`) },
    ],
  }),
};

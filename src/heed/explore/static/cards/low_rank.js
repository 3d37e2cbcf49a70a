// What a cut at a rank costs, of scores and of their softmax: heed's explore/low_rank.py.
import { largest, norm, normals, plus, product, range, scaled, shaped, softmax, sum, svd, transposed } from "../algebra.js";
import { Wrong, said } from "../words.js";

const errorsOf = s => {
  const squares = s.map(x => x * x), tails = [...squares, 0];
  for (let i = squares.length - 1; i >= 0; i--) tails[i] += tails[i + 1];
  return tails.map(tail => Math.sqrt(tail / tails[0]) || 0);
};
const rankOf = s => s.filter(value => value > 1e-10 * s[0]).length;
const cutAt = ({ U, s, V }, k) => product(U.map(row => row.slice(0, k).map((x, i) => x * s[i])), transposed(V.map(row => row.slice(0, k))));

export function lowRank(Q, K, V, k) {
  const h = Q[0].length, P = product(Q, transposed(K)).map(row => scaled(row, 1 / Math.sqrt(h))), A = P.map(softmax);
  const [ofScores, ofWeights] = [svd(P), svd(A)], squares = ofWeights.s.map(x => x * x), total = sum(squares);
  const shares = ofWeights.s.map(x => x / sum(ofWeights.s));
  let needed = 0, held = 0;
  while (held < 0.99 * total) held += squares[needed++];
  const exact = product(A, V), cut = product(cutAt(ofWeights, k), V), C = transposed(ofScores.V).slice(0, k);
  const projected = product(product(Q, transposed(product(C, K))), product(C.map(row => scaled(row, 1 / Math.sqrt(h))), V));
  return {
    weights: A, cut: cutAt(ofWeights, k), score_rank: rankOf(ofScores.s), weight_rank: rankOf(ofWeights.s),
    effective_rank: Math.exp(-sum(shares.map(x => x > 0 ? x * Math.log(x) : 0))),
    score_errors: errorsOf(ofScores.s), weight_errors: errorsOf(ofWeights.s), rank_for_99: needed,
    error: largest(product(P, V).map((row, i) => plus(row, projected[i], -1))),
    softmax_error: norm(cut.flat().map((x, i) => x - exact.flat()[i])) / norm(exact.flat()),
  };
}

const inputsOf = ({ n, h, spread, seed }) => {
  const numbers = normals(3 * n * h, seed), part = i => shaped(numbers.slice(i * n * h, (i + 1) * n * h), h);
  return { Q: part(0).map(row => scaled(row, spread)), K: part(1), V: part(2) };
};

export const lowRankCard = {
  title: "Low rank before the softmax, full rank after it",
  lead: "Scores of width h have rank h at most. Drag the line to cut both matrices at a rank k.",
  puzzle: "hw5-projections",
  start: { n: 16, h: 3, spread: 1.5, rank: 3, seed: 1 },
  controls: [
    { name: "rank", kind: "range", words: "Rank k of the cut", low: 1, high: 24, step: 1, highOf: state => state.n },
    { name: "n", kind: "range", words: "Tokens n", low: 4, high: 24, step: 1 },
    { name: "h", kind: "range", words: "Width h of a head", low: 1, high: 8, step: 1 },
    { name: "spread", kind: "range", words: "Deviation of the queries", low: 0.1, high: 6, step: 0.1 },
    { name: "seed", kind: "range", words: "Which draw", low: 1, high: 50, step: 1 },
  ],
  compute(state) {
    if (state.rank > state.n) throw new Wrong(`rank: ${state.rank} is more than ${state.n} tokens have`);
    const inputs = inputsOf(state);
    return lowRank(inputs.Q, inputs.K, inputs.V, state.rank);
  },
  inputs: inputsOf,
  equations: ({ n, h, rank }, f) => [
    ["P = Q K^T / √h", `rank ${f.score_rank} of ${n}`],
    ["softmax(P)", `rank ${f.weight_rank} of ${n}, effective rank ${said(f.effective_rank)}`],
    ["|P - P_k| / |P|", said(f.score_errors[rank])],
    ["|A - A_k| / |A|", said(f.weight_errors[rank])],
    ["P V = Q (C K)^T D V, C = V_k^T, D = C / √h", `differs by ${said(f.error)}`],
    ["softmax cut at k, of A V", `${said(100 * f.softmax_error)} %`],
    ["99 % of the squares", `from rank ${f.rank_for_99} on`],
  ],
  say: ({ h, rank }, f) => `Without softmax ${rank >= f.score_rank ? `rank ${rank} is exact` : `rank ${rank} cuts off a part, as the scores have rank ${f.score_rank}`}; with it the output is off by ${said(100 * f.softmax_error)} %. The softmax of a low-rank matrix is not low-rank in general: small scores make it nearly so.`,
  draw({ n, rank }, f) {
    const line = (name, css, errors) => ({ name, css, points: range(n + 1).map(k => [k, errors[k]]) });
    return {
      kind: "lines", title: "Error of a cut over its rank", caption: "Relative error in the Frobenius norm.",
      x: { low: 0, high: n, words: "rank k" }, y: { low: 0, high: 1, words: "relative error" },
      series: [line("scores", "s1", f.score_errors), line("softmax of them", "s2", f.weight_errors)],
      marker: { x: rank, values: [f.score_errors[rank], f.weight_errors[rank]], move: k => ({ rank: Math.min(n, Math.max(1, Math.round(k))) }) },
    };
  },
};

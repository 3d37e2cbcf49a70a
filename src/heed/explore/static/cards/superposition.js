// A signal taken out of an average, and how many fit: heed's explore/superposition.py.
import { dot, identity, largest, norm, plus, product, pseudoInverse, rank, scaled, svd, times, transposed } from "../algebra.js";
import { matrixSaid, said, vectorSaid } from "../words.js";

// M with M (v_a + v_b) / 2 = v_a for the spans of the columns of A and of B, or a vector that both hold
export function extract(A, B) {
  const both = A.map((row, i) => [...row, ...B[i]]), p = A[0].length, At = transposed(A), Bt = transposed(B);
  if (rank(both, 1e-10) < both[0].length) {
    const common = times(A, svd(A.map((row, i) => [...row, ...scaled(B[i], -1)])).V.map(row => row.at(-1)).slice(0, p));
    return { possible: false, kind: "dependent", common: scaled(common, 1 / norm(common)) };
  }
  const orthonormal = largest(product(At, A).map((row, i) => plus(row, identity(p)[i], -1))) < 1e-9;
  const orthogonal = orthonormal && largest(product(At, B)) < 1e-9;
  const M = product(A, orthogonal ? At : pseudoInverse(both, 1e-15).slice(0, p)).map(row => scaled(row, 2));
  const error = Math.max(largest(product(M, A).map((row, i) => plus(scaled(row, 0.5), A[i], -1))), largest(product(M, B)) / 2);
  return { possible: true, kind: orthogonal ? "orthogonal" : "independent", matrix: M, error, gain: svd(M).s[0] };
}

const direction = degrees => [Math.cos(degrees * Math.PI / 180), Math.sin(degrees * Math.PI / 180)];
const degreesOf = ([x, y]) => (Math.round(Math.atan2(y, x) * 180 / Math.PI) + 360) % 360;

export const superposition = {
  title: "Two signals in one average",
  lead: "v_a lies along a, v_b along b, and only their average is known. Drag the directions: which matrix gives v_a back?",
  puzzle: "hw6-extract-independent",
  start: { a: 20, b: 80, alpha: 0.8, beta: 0.7, width: 256, dimensions: 1, bound: 0.25 },
  controls: [
    { name: "a", kind: "range", words: "Direction of a in degrees", low: 0, high: 359, step: 1 },
    { name: "b", kind: "range", words: "Direction of b in degrees", low: 0, high: 359, step: 1 },
    { name: "alpha", kind: "range", words: "Length of v_a", low: -1.2, high: 1.2, step: 0.01 },
    { name: "beta", kind: "range", words: "Length of v_b", low: -1.2, high: 1.2, step: 0.01 },
    { name: "width", kind: "range", words: "How many fit: width d", low: 16, high: 4096, step: 1, log: true },
    { name: "dimensions", kind: "range", words: "Dimensions p of a signal", low: 1, high: 16, step: 1 },
    { name: "bound", kind: "range", words: "Error that is borne", low: 0.05, high: 1, step: 0.01 },
  ],
  compute({ a, b, alpha, beta, width, dimensions, bound }) {
    const [va, vb] = [scaled(direction(a), alpha), scaled(direction(b), beta)], average = scaled(plus(va, vb), 0.5);
    const answer = extract(transposed([direction(a)]), transposed([direction(b)]));
    return {
      va, vb, average, answer, found: answer.possible ? times(answer.matrix, average) : null,
      plain: scaled(direction(a), 2 * dot(direction(a), average)),
      exact: Math.floor(width / dimensions), projected: 1 + Math.floor(bound ** 2 * width / dimensions + 1e-9),
    };
  },
  equations: (state, n) => [
    ["(v_a + v_b) / 2", vectorSaid(n.average)],
    ["M = 2 A P, P the first rows of [A B]^+", n.answer.possible ? matrixSaid(n.answer.matrix) : "there is none"],
    ["M (v_a + v_b) / 2", n.found ? `${vectorSaid(n.found)}, v_a = ${vectorSaid(n.va)}` : "none"],
    ["2 A A^T (v_a + v_b) / 2", `${vectorSaid(n.plain)}, off by ${said(norm(plus(n.plain, n.va, -1)))}`],
    ["largest gain of M", n.answer.possible ? said(n.answer.gain) : "∞"],
    [`signals of ${state.dimensions} in ${state.width}`, `${n.projected} by a projection within ${said(state.bound)}, ${n.exact} exactly`],
  ],
  say: (state, { answer }) => answer.kind === "orthogonal"
    ? "A is orthonormal and at right angles to B, so 2 A Aᵀ keeps what lies in A and drops what lies in B."
    : answer.kind === "dependent"
      ? "Both lie on one line: a vector along it may be v_a or v_b, and no matrix can tell which."
      : `The directions are only independent: the pseudo-inverse reads the part along a exactly, but makes up to ${said(answer.gain)} times as much of noise; 2 A Aᵀ alone is off.`,
  draw({ a, b }, n) {
    const at = (degrees, name) => move => ({ [name]: degreesOf(move) });
    return {
      kind: "plane", reach: 1.35, circle: 1, title: "Directions a and b, the signals and their average",
      caption: "Drag a and b round the circle. Dashed: what 2 A Aᵀ makes of the average; a cross: what M makes of it.",
      arrows: [
        { to: n.va, name: "v_a", css: "s1" }, { to: n.vb, name: "v_b", css: "s2" },
        { to: n.average, name: "average", css: "s0" }, { to: n.plain, name: "", css: "s4", dashed: true },
      ],
      crosses: n.found ? [{ at: n.found }] : [],
      points: [
        { at: direction(a), name: "a", weight: 0.05, css: "s1", move: at(a, "a") },
        { at: direction(b), name: "b", weight: 0.05, css: "s2", move: at(b, "b") },
      ],
    };
  },
};

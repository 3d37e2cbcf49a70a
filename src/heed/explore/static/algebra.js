// Small matrices in double precision: a vector is an array of numbers, a matrix an array of rows.
// Each function does what heed's of the same purpose does in Python, and a test holds both against each other.

export const sum = a => a.reduce((total, x) => total + x, 0);
export const dot = (a, b) => { let total = 0; for (let i = 0; i < a.length; i++) total += a[i] * b[i]; return total; };
export const norm = a => Math.sqrt(dot(a, a));
export const plus = (a, b, factor = 1) => a.map((x, i) => x + factor * b[i]);
export const scaled = (a, factor) => a.map(x => x * factor);
export const zeros = (n, m) => Array.from({ length: n }, () => m === undefined ? 0 : new Array(m).fill(0));
export const identity = n => zeros(n, n).map((row, i) => row.map((_, j) => i === j ? 1 : 0));
export const transposed = A => A[0].map((_, j) => A.map(row => row[j]));
export const times = (A, x) => A.map(row => dot(row, x));
export const product = (A, B) => { const columns = transposed(B); return A.map(row => times(columns, row)); };
export const outer = (a, b) => a.map(x => b.map(y => x * y));
export const largest = A => A.flat().reduce((most, x) => Math.max(most, Math.abs(x)), 0);
export const mean = A => scaled(transposed(A).map(sum), 1 / A.length);
export const range = n => Array.from({ length: n }, (_, i) => i);

// softmax(s)_i = e^(s_i - max) / sum: without overflow, -Infinity gets weight 0
export function softmax(scores) {
  const top = Math.max(...scores), powers = scores.map(s => Math.exp(s - top)), total = sum(powers);
  return powers.map(x => x / total);
}

// A = U diag(s) V^T, s from the largest on: rotations of pairs of columns until all are orthogonal (one-sided Jacobi)
export function svd(A) {
  if (A.length < A[0].length) { const { U, s, V } = svd(transposed(A)); return { U: V, s, V: U }; }
  const columns = transposed(A).map(column => [...column]), n = columns.length, V = identity(n); // rows of V: v_j
  const least = 1e-31 * Math.max(...columns.map(column => dot(column, column))); // squares of columns that are rounding
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) {
      const a = dot(columns[i], columns[i]), b = dot(columns[j], columns[j]), c = dot(columns[i], columns[j]);
      if (Math.min(a, b) <= least || Math.abs(c) <= 1e-16 * Math.sqrt(a * b)) continue;
      turned = true;
      const zeta = (b - a) / (2 * c), t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
      const cosine = 1 / Math.sqrt(1 + t * t), sine = cosine * t;
      for (const [x, y] of [[columns[i], columns[j]], [V[i], V[j]]]) for (let k = 0; k < x.length; k++) {
        const value = x[k];
        x[k] = cosine * value - sine * y[k];
        y[k] = sine * value + cosine * y[k];
      }
    }
  }
  const lengths = columns.map(norm), order = range(n).sort((i, j) => lengths[j] - lengths[i]);
  return {
    U: transposed(order.map(i => lengths[i] ? scaled(columns[i], 1 / lengths[i]) : columns[i])),
    s: order.map(i => lengths[i]),
    V: transposed(order.map(i => V[i])),
  };
}

// Singular values below `share` of the largest are 0
export const rank = (A, share = Number.EPSILON * Math.max(A.length, A[0].length)) => {
  const { s } = svd(A);
  return s.filter(value => value > share * s[0]).length;
};
export function pseudoInverse(A, share = 1e-10) {
  const { U, s, V } = svd(A);
  const inverse = s.map(value => value > share * s[0] ? 1 / value : 0);
  return product(V.map(row => row.map((x, i) => x * inverse[i])), transposed(U));
}

// The linear program max c.x, A x <= b, x >= 0 with b >= 0, by the simplex method from x = 0, with Bland's rule.
// `dual` holds a multiplier a row: at the optimum they prove that nothing is better.
export function maximise(c, A, b) {
  const m = A.length, n = c.length, basis = range(m).map(i => n + i);
  const table = A.map((row, i) => [...row, ...range(m).map(j => i === j ? 1 : 0), b[i]]);
  let cost = [...c.map(x => -x), ...zeros(m), 0];
  for (let step = 0; step < 5000; step++) {
    const enters = cost.findIndex((x, j) => x < -1e-11 && j < n + m);
    if (enters < 0) break;
    let leaves = -1, least = Infinity;
    for (let i = 0; i < m; i++) {
      if (table[i][enters] <= 1e-11) continue;
      const ratio = table[i][n + m] / table[i][enters];
      if (ratio < least - 1e-13 || (Math.abs(ratio - least) <= 1e-13 && basis[i] < basis[leaves])) { least = ratio; leaves = i; }
    }
    if (leaves < 0) throw Error("the linear program has no bound");
    const pivot = scaled(table[leaves], 1 / table[leaves][enters]);
    const clear = row => row[enters] ? plus(row, pivot, -row[enters]) : row;
    for (let i = 0; i < m; i++) table[i] = i === leaves ? pivot : clear(table[i]);
    cost = clear(cost);
    basis[leaves] = enters;
  }
  const x = zeros(n);
  basis.forEach((variable, i) => { if (variable < n) x[variable] = table[i][n + m]; });
  return { x, value: cost[n + m], dual: cost.slice(n, n + m) };
}

// Where a continuous function changes its sign between low and high: the end at which it is not above 0
export function root(f, low, high) {
  const rising = f(low) <= 0;
  for (let step = 0; step < 200 && high - low > 1e-15 * Math.abs(high); step++) {
    const middle = (low + high) / 2;
    if ((f(middle) <= 0) === rising) low = middle; else high = middle;
  }
  return rising ? low : high;
}

// The normal distribution: P(g <= x), by its series near 0 and its continued fraction beyond
export function normalBelow(x) {
  const a = Math.abs(x) / Math.SQRT2;
  if (a < 2.5) {
    let term = a, total = a;
    for (let k = 1; Math.abs(term) > 1e-18 && k < 200; k++) { term *= -a * a / k; total += term / (2 * k + 1); }
    return 0.5 + Math.sign(x) * total / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let k = 120; k > 0; k--) fraction = a + k / 2 / fraction;
  const tail = Math.exp(-a * a) / Math.sqrt(Math.PI) / fraction / 2;
  return x > 0 ? 1 - tail : tail;
}

// Numbers that are the same on every machine: a generator with 32 bits of state (mulberry32), and normals by Box and Muller
export function normals(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return range(count).map(() => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}
export const shaped = (numbers, width) => range(Math.floor(numbers.length / width)).map(i => numbers.slice(i * width, (i + 1) * width));

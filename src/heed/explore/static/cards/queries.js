// Which query gives the keys these weights, or the proof that none does: heed's explore/queries.py and certificates.py.
import { dot, largest, mean, norm, plus, maximise, pseudoInverse, range, root, scaled, softmax, sum, times, zeros } from "../algebra.js";
import { Wrong, enumerated, said, vectorSaid } from "../words.js";

const NEAR = 1e-7; // a margin below this share of the keys' spread counts as none

// w = softmax(K q) -> target: a part `level` that is right within the wanted keys, and S u that hides the others
export function hit(K, target, tolerance) {
  const within = range(K.length).filter(i => target[i] > 0), others = range(K.length).filter(i => !(target[i] > 0));
  const { level, rest, dependency } = levels(within.map(i => K[i]), within.map(i => Math.log(target[i])));
  if (rest > NEAR) {
    const inside = zeros(K.length);
    within.forEach((i, at) => { inside[i] = dependency[at]; });
    return impossible("weights", { outside: zeros(K.length), inside }, target, tolerance);
  }
  if (!others.length) return found(K, target, zeros(K[0].length), level, 0, 0);
  const { u, margin, certificate } = widestMargin(K, within, others);
  if (margin <= NEAR) return impossible("hull", certificate, target, tolerance);
  return found(K, target, u, level, smallestScale(K, target, level, u, tolerance), margin);
}

const impossible = (why, certificate, target, tolerance) => ({ possible: false, why, certificate, margin: 0, proved_within: provesWithin(certificate, target, tolerance) });

// Whether even weights that are all within the tolerance are forbidden: both sides of a certificate are equal for log p
function provesWithin({ outside, inside }, target, tolerance) {
  let least = 0, most = 0;
  target.forEach((w, i) => {
    if (!(w > 0)) return;
    const ends = [Math.log(Math.max(w - tolerance, 1e-300)), Math.log(Math.min(w + tolerance, 1))];
    least += inside[i] * ends[inside[i] > 0 ? 0 : 1];
    most += inside[i] * ends[inside[i] > 0 ? 1 : 0];
  });
  return sum(outside) > 0 ? least > Math.log(tolerance) : least > 0 || most < 0;
}

function found(K, target, u, level, scale, margin) {
  const query = plus(level, u, scale), weights = softmax(times(K, query));
  return { possible: true, direction: u, scale, query, weights, error: largest(plus(weights, target, -1)), margin };
}

// q0 with q0.k_a = log w_a + constant on the wanted keys, what is left of it, and the dependency that is to blame
function levels(inside, logs) {
  const differences = inside.slice(1).map(k => plus(k, inside[0], -1)), wanted = logs.slice(1).map(x => x - logs[0]);
  if (!differences.length) return { level: zeros(inside[0].length), rest: 0, dependency: [0] };
  const level = times(pseudoInverse(differences), wanted), rest = plus(wanted, times(differences, level), -1);
  return { level, rest: largest(rest), dependency: [-sum(rest), ...rest] };
}

// The direction with equal scores on the wanted keys and the largest lead over the others. Where there is no lead the
// multipliers of the same linear program are a convex combination of the others that lies among the wanted ones.
function widestMargin(K, within, others) {
  const middle = mean(K), away = K.map(k => plus(k, middle, -1)), spread = largest(away) || 1, d = K[0].length;
  const keys = away.map(k => scaled(k, 1 / spread)), first = keys[within[0]];
  const differences = within.slice(1).map(i => plus(keys[i], first, -1));
  const split = row => [...row, ...row.map(x => -x)]; // u = u+ - u-
  const rows = [
    ...others.map(o => [...split(plus(keys[o], first, -1)), 1]),
    ...differences.map(row => [...split(row), 0]), ...differences.map(row => [...split(row.map(x => -x)), 0]),
    ...range(2 * d).map(i => [...range(2 * d).map(j => i === j ? 1 : 0), 0]),
  ];
  const bounds = rows.map((_, i) => i < rows.length - 2 * d ? 0 : 1);
  const { x, dual } = maximise([...zeros(2 * d), 1], rows, bounds);
  let u = range(d).map(i => x[i] - x[d + i]);
  if (differences.length) u = plus(u, times(pseudoInverse(differences), times(differences, u)), -1);
  const margin = Math.max(0, Math.min(...others.map(o => dot(plus(first, keys[o], -1), u))));
  const shares = dual.slice(0, others.length).map(c => Math.max(c, 0)), total = sum(shares), outside = zeros(K.length), inside = zeros(K.length);
  others.forEach((o, i) => { outside[o] = shares[i] / total; });
  within.slice(1).forEach((a, i) => {
    inside[a] = (dual[others.length + differences.length + i] - dual[others.length + i]) / total;
  });
  inside[within[0]] = 1 - sum(inside);
  return { u, margin, certificate: { outside, inside } };
}

// The smallest S from which on every weight stays within the tolerance
function smallestScale(K, target, level, u, tolerance) {
  const weights = S => softmax(times(K, plus(level, u, S)));
  const excess = S => largest(plus(weights(S), target, -1)) - tolerance;
  let high = 1;
  while (sum(weights(high).filter((_, i) => target[i] === 0)) > tolerance) {
    high *= 2;
    if (high > 1e12) throw new Wrong("keys: they lie so near to each other that no reasonable scale tells them apart");
  }
  const grid = [0, ...range(800).map(i => high / 1e4 * 10 ** (4 * i / 799))];
  grid[800] = high;
  const last = grid.findLastIndex(S => excess(S) > 0);
  return last < 0 ? 0 : root(excess, grid[last], grid[last + 1]);
}

const EXAMPLES = {
  "A key within others": { keys: [[-1, -0.8], [1, -0.8], [0, 1], [0.1, -0.2]], target: [0, 0, 0, 1], query: [0.4, -0.8] },
  "Two neighbours": { keys: [[-1, -0.6], [0.9, -0.9], [1, 0.8], [-0.7, 0.9]], target: [0, 1, 1, 0], query: [0, 0] },
  "Two across": { keys: [[-1, -0.6], [0.9, -0.9], [1, 0.8], [-0.7, 0.9]], target: [1, 0, 1, 0], query: [0, 0] },
  "One twice as much": { keys: [[-1, -0.6], [0.9, -0.9], [1, 0.8], [-0.7, 0.9]], target: [0, 2, 1, 0], query: [0, 0] },
};

export const queries = {
  title: "Which query looks there?",
  lead: "Drag the keys and the query. What you want is a weight for each key: one alone, some of them equally, or any shares.",
  puzzle: "average-0",
  start: { ...EXAMPLES["Two neighbours"], query: [3, 1], tolerance: 0.05 },
  controls: [
    { name: "example", kind: "examples", words: "Begin with", examples: EXAMPLES },
    { name: "keys", kind: "matrix", words: "Keys, a row each", width: 2, least: 2, most: 8, follows: ["target"], row: "key" },
    { name: "target", kind: "vector", words: "Wanted shares of the weight", columns: "key", least: 2, most: 8 },
    { name: "query", kind: "vector", words: "Query", width: 2 },
    { name: "tolerance", kind: "range", words: "Tolerance", low: 0.001, high: 0.2, step: 0.001 },
    { name: "answer", kind: "action", words: "Take the query that does it", able: numbers => numbers.answer.possible,
      turn: (state, numbers) => ({ query: numbers.answer.query }) },
  ],
  compute({ keys, target, query, tolerance }) {
    if (target.length !== keys.length) throw new Wrong(`wanted shares: there are ${target.length}, one is needed for each of ${keys.length} keys`);
    if (Math.min(...target) < 0 || !(sum(target) > 0)) throw new Wrong("wanted shares: they must be at least 0, and one of them above 0");
    const wanted = scaled(target, 1 / sum(target)), scores = times(keys, query), weights = softmax(scores);
    return { scores, weights, wanted, error: largest(plus(weights, wanted, -1)), answer: hit(keys, wanted, tolerance) };
  },
  equations: (state, n) => [
    ["s_i = q · k_i", vectorSaid(n.scores)],
    ["w = softmax(s)", vectorSaid(n.weights)],
    ["wanted", vectorSaid(n.wanted)],
    ["max_i |w_i - wanted_i|", said(n.error)],
    n.answer.possible ? ["a query that does it", vectorSaid(n.answer.query)] : ["a query that does it", "there is none"],
    n.answer.possible
      ? ["its scale S, along u", `${said(n.answer.scale)} · ${vectorSaid(n.answer.direction)}`]
      : ["because", combinationSaid(n.answer.certificate)],
  ],
  say({ tolerance }, { answer, wanted, error }) {
    const within = range(wanted.length).filter(i => wanted[i] > 0), done = error <= tolerance;
    if (!answer.possible) {
      const come = answer.proved_within ? "" : done ? ` That is so exactly; yours is within ${said(tolerance)} all the same.` : ` That is so exactly; within ${said(tolerance)} a query may still come near.`;
      return whyNot(within, wanted, answer.why) + come;
    }
    const now = done ? "Your query does it." : "Your query does not do it yet.";
    if (within.length === wanted.length) return `${now} Every key has its share here, so scores need only be the logarithms of the weights.`;
    if (within.length === 1) return `${now} Key ${within[0]} is a vertex of the hull, so along some direction its score leads, and a large scale does the rest.`;
    return `${now} Keys ${enumerated(within)} are all that lies on an edge of the hull, so their scores can stay equal while the others fall.`;
  },
  draw: ({ keys, query }, { weights, answer, wanted }) => keysFigure({
    keys, query, weights, wanted, certificate: answer.certificate,
    moveKey: i => to => ({ keys: keys.map((k, j) => j === i ? to : k) }), moveQuery: to => ({ query: to }),
  }),
};

// Keys of the plane with their hull, each as large as its weight, and the query on a logarithmic scale of lengths
export function keysFigure({ keys, query, weights, wanted, certificate, moveKey, moveQuery }) {
  const reach = 1.25 * Math.max(1, largest(keys)), length = norm(query), far = reach * Math.min(1, Math.log10(1 + length) / 3);
  const best = weights.indexOf(Math.max(...weights));
  const back = at => { const r = norm(at) / reach; return r < 0.02 ? [0, 0] : scaled(at, (10 ** (3 * Math.min(1, r)) - 1) / norm(at)); };
  return {
    kind: "plane", reach, title: "Keys, their hull, and the query",
    caption: "Each key is as large as its weight; a ring is what is wanted. The arrow is the query: its length is on a logarithmic scale. A key anywhere on the dotted line has the score of the best one.",
    polygon: hull(keys), level: length ? { at: keys[best], across: query } : null, ...(certificate ? certificateLines(keys, certificate) : {}),
    points: keys.map((at, i) => ({ at, name: `k_${i}`, weight: weights[i], ring: wanted[i], note: weights[i], move: moveKey(i) })),
    arrows: [{ to: length ? scaled(query, far / length) : [0, 0], name: "q", css: "s2", move: moveQuery }],
  };
}

export function whyNot(within, wanted, why) {
  const even = within.every(i => Math.abs(wanted[i] - wanted[within[0]]) < 1e-12), these = `keys ${enumerated(within)}`;
  if (why === "weights") return "No query gives these weights: the keys depend on each other, and the logarithms of the weights do not depend on each other in the same way.";
  if (within.length === 1) return `No query selects key ${within[0]}: it is a convex combination of other keys, so whatever the query, one of those has a score at least as large.`;
  if (!even) return `No query gives ${these} these weights and the others none: a mean of other keys lies on the line or plane through them.`;
  return `No query averages ${these} alone: a mean of other keys lies on the line or plane through them. Heads that each select one may do it.`;
}

export function combinationSaid({ outside, inside }) {
  const side = coefficients => {
    const terms = coefficients.map((c, i) => [c, i]).filter(([c]) => Math.abs(c) > 1e-9);
    return terms.map(([c, i], at) => `${at ? (c < 0 ? " − " : " + ") : (c < 0 ? "−" : "")}${Math.abs(Math.abs(c) - 1) < 1e-9 ? "" : `${said(Math.abs(c))} `}k_${i}`).join("") || "0";
  };
  return `${side(inside)} = ${side(outside)}`;
}

function certificateLines(keys, { outside, inside }) {
  if (!(sum(outside) > 0)) return {};
  const at = range(keys[0].length).map(d => sum(keys.map((k, i) => outside[i] * k[d])));
  const some = coefficients => range(keys.length).filter(i => Math.abs(coefficients[i]) > 1e-9);
  return {
    crosses: [{ at, name: "" }],
    segments: [
      ...some(outside).map(i => ({ from: keys[i], to: at, css: "s4", note: outside[i] })),
      ...some(inside).filter(() => some(inside).length > 1).map(i => ({ from: keys[i], to: at, css: "s3" })),
    ],
  };
}

// The convex hull of points of the plane, by turning left all the way round (Andrew's chains)
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const left = ([a, b, c]) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0;
  const chain = list => list.reduce((kept, p) => {
    while (kept.length > 1 && !left([kept.at(-2), kept.at(-1), p])) kept.pop();
    kept.push(p);
    return kept;
  }, []).slice(0, -1);
  return [...chain(sorted), ...chain(sorted.reverse())];
}

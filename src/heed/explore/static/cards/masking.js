// Every wrong way to hide keys beside the right one: heed's explore/masking.py.
import { largest, plus, range, softmax, sum } from "../algebra.js";
import { Wrong, said, vectorSaid } from "../words.js";

const filled = (scores, hidden, fill) => softmax(scores.map((s, i) => hidden.has(i) ? fill : s));
export const WAYS = {
  "minus-infinity": (scores, hidden) => filled(scores, hidden, -Infinity),
  "renormalised": (scores, hidden) => {
    const top = Math.max(...scores.filter((_, i) => !hidden.has(i)));
    const left = scores.map((s, i) => hidden.has(i) ? 0 : Math.exp(Math.min(s - top, 0))), total = sum(left);
    return left.map(x => x / total);
  },
  "zero-key": (scores, hidden) => filled(scores, hidden, 0),
  "finite-fill": (scores, hidden) => filled(scores, hidden, -1e4),
  "after-softmax": (scores, hidden) => softmax(scores).map((w, i) => hidden.has(i) ? 0 : w),
};
const WORDS = {
  "minus-infinity": "−∞ before the softmax", "renormalised": "zeroed after it, rows divided by their sum",
  "zero-key": "the key set to zero", "finite-fill": "−10,000 before the softmax", "after-softmax": "zeroed after the softmax",
};

function hide(scores, hidden, way) {
  const weights = WAYS[way](scores, hidden), other = WAYS[way](scores.map((s, i) => hidden.has(i) ? s + 3 : s), hidden);
  const share = sum(weights.filter((_, i) => hidden.has(i)));
  const moved = largest(plus(other, weights, -1).map((x, i) => hidden.has(i) ? 0 : x));
  return { way, weights, hidden: share, total: sum(weights), moved, right: share === 0 && moved < 1e-12 };
}

export const masking = {
  title: "Hiding the future, rightly and wrongly",
  lead: "A query at position t may look at keys 0 to t. Drag the scores, the hidden ones as well: whatever moves then has leaked.",
  start: { scores: [0.5, 1.2, -0.4, 2, 0.3, -1], position: 2 },
  controls: [
    { name: "examples", kind: "examples", words: "Begin with", examples: {
      "Everyday scores": { scores: [0.5, 1.2, -0.4, 2, 0.3, -1], position: 2 },
      "All visible ones far below 0": { scores: [-8, -9, -7, -5, -6, -4], position: 2 },
      "Below the fill of −10,000": { scores: [-10020, -10012, -10015, 20, 25, 0], position: 2 },
    } },
    { name: "position", kind: "range", words: "Position t of the query", low: 0, high: 6, step: 1, highOf: state => state.scores.length - 2 },
    { name: "scores", kind: "vector", words: "Scores q · k_i", columns: "key", least: 2, most: 10 },
  ],
  compute({ scores, position }) {
    if (position > scores.length - 2) throw new Wrong(`position: ${position} leaves none of ${scores.length} keys to hide`);
    const hidden = new Set(range(scores.length).filter(i => i > position));
    return { ways: Object.keys(WAYS).map(way => hide(scores, hidden, way)) };
  },
  equations: (state, { ways }) => ways.map(w => [
    `${w.right ? "right" : "wrong"}: ${WORDS[w.way]}`,
    `w = ${vectorSaid(w.weights)}\nhidden ${said(w.hidden)}, sum ${said(w.total)}, moved by the future ${said(w.moved)}`,
  ]),
  say: (state, { ways }) => `Right is what gives hidden keys the weight 0 and moves no visible one when a hidden score changes: here ${ways.filter(w => w.right).length} of ${ways.length} ways. After the softmax it is too late, because the denominator has seen the future; −∞ before it, or dividing the rows by their sum, takes it out.`,
  draw({ scores, position }, { ways }) {
    const low = Math.min(-3, ...scores.filter(s => s > -100)), high = Math.max(3, ...scores), css = i => i > position ? "s2" : "s1";
    return {
      kind: "bars", title: "Weights under five ways to hide keys", caption: "Full and blue: keys that the query may see. Hollow and orange: keys of the future.",
      names: range(scores.length).map(i => `k_${i}`),
      groups: [
        { name: "scores", low, high, bars: scores.map((value, i) => ({ value, css: css(i), hollow: i > position, move: to => ({ scores: scores.map((s, j) => j === i ? to : s) }) })) },
        ...ways.map(w => ({ name: `${w.right ? "✓" : "✗"} ${WORDS[w.way]}`, low: 0, high: 1, bars: w.weights.map((value, i) => ({ value, css: css(i), hollow: i > position })) })),
      ],
    };
  },
};

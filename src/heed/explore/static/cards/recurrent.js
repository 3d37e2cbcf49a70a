// A linear recurrent net with its gradients by hand: heed's explore/recurrent.py.
import { identity, norm, outer, plus, product, range, scaled, softmax, sum, svd, times, transposed, zeros } from "../algebra.js";
import { Wrong, matrixSaid, said, vectorSaid } from "../words.js";

const added = (M, N) => M.map((row, i) => plus(row, N[i]));

export function handGradients(W_hh, W_hx, W_yh, inputs, targets) {
  const T = inputs.length, H = W_hh.length, back = transposed(W_hh), hidden = [zeros(H)];
  for (const x of inputs) hidden.push(plus(times(W_hh, hidden.at(-1)), times(W_hx, x)));
  const probabilities = hidden.slice(1).map(h => softmax(times(W_yh, h)));
  const losses = hidden.slice(1).map((h, t) => { // log sum e^o - o_y
    const o = times(W_yh, h), top = Math.max(...o);
    return Math.log(sum(o.map(x => Math.exp(x - top)))) + top - o[targets[t]];
  });
  const of_outputs = probabilities.map((p, t) => p.map((x, i) => x - (i === targets[t] ? 1 : 0)));
  const of_hidden = of_outputs.map((g, t) => {
    const row = range(T).map(() => zeros(H));
    row[t] = times(transposed(W_yh), g);
    for (let i = t - 1; i >= 0; i--) row[i] = times(back, row[i + 1]);
    return row;
  });
  const total = terms => terms.reduce(added, zeros(H, H));
  const by_step = of_hidden.map((row, t) => total(range(t + 1).map(i => outer(row[i], hidden[i]))));
  const whole = total(by_step), one = total(range(T).map(t => outer(of_hidden[t][t], hidden[t]))), size = norm(whole.flat());
  return {
    hidden, probabilities, losses, of_outputs, of_hidden, W_hh: whole,
    one_term_error: size ? norm(plus(one.flat(), whole.flat(), -1)) / size : 0,
  };
}

// |(W^T)^n| for n = 0 .. steps, and the spectral radius as the limit of |W^n|^(1/n), n doubled again and again (Gelfand)
export function reach(W, steps) {
  const norms = [], back = transposed(W);
  let power = identity(W.length);
  for (let n = 0; n <= steps; n++) { norms.push(svd(power).s[0]); power = product(back, power); }
  let logarithm = 0, square = W;
  for (let doubled = 0; doubled < 60; doubled++) {
    const size = norm(square.flat());
    if (!size) return { radius: 0, norms };
    logarithm += Math.log(size) / 2 ** doubled;
    square = product(square, square).map(row => scaled(row, 1 / size ** 2));
  }
  return { radius: Math.exp(logarithm), norms };
}

const STEPS = 30;
const START = [[0.74, 0.66, 0, 0], [-0.16, 0.57, 0.74, 0], [0, 0, 0.49, 0.74], [0.16, 0, -0.25, 0.66]];
export const recurrent = {
  title: "Gradients through time",
  lead: "h_t = W_hh h_{t−1} + W_hx x_t and o_t = W_yh h_t, with softmax and cross-entropy. Drag the end of the line to stretch W_hh as a whole.",
  puzzle: "hw5-recurrent-gradient",
  start: {
    factor: 1, W_hh: START, W_hx: [[1, 0, 0.5], [0, 1, -0.5], [0.5, 0, 1], [-0.5, 0.5, 0]], W_yh: [[1, -1, 0.5, 0], [0, 0.5, -1, 1]],
    inputs: [[1, -1, 0], [0, 1, 1], [1, 0, -1]], targets: [0, 0, 1],
  },
  controls: [
    { name: "examples", kind: "examples", words: "Begin with", examples: {
      "The first": { W_hh: START, factor: 1 }, "The identity": { W_hh: identity(4), factor: 1 },
      "Not normal": { W_hh: [[0.6, 3, 0, 0], [0, 0.6, 3, 0], [0, 0, 0.6, 3], [0, 0, 0, 0.6]], factor: 1 },
    } },
    { name: "factor", kind: "range", words: "W_hh times", low: 0.2, high: 2, step: 0.01 },
    { name: "W_hh", kind: "matrix", words: "W_hh", width: 4, least: 4, most: 4 },
    { name: "W_hx", kind: "matrix", words: "W_hx", width: 3, least: 4, most: 4 },
    { name: "W_yh", kind: "matrix", words: "W_yh", width: 4, least: 2, most: 2 },
    { name: "inputs", kind: "matrix", words: "Inputs, a step each", width: 3, least: 1, most: 6, follows: ["targets"], row: "step" },
    { name: "targets", kind: "vector", words: "True class of each step, 0 or 1", columns: "step", least: 1, most: 6 },
  ],
  compute({ factor, W_hh, W_hx, W_yh, inputs, targets }) {
    if (targets.length !== inputs.length) throw new Wrong(`true classes: there are ${targets.length}, one is needed for each of ${inputs.length} steps`);
    if (targets.some(c => c !== 0 && c !== 1)) throw new Wrong("true classes: each must be 0 or 1");
    const W = W_hh.map(row => scaled(row, factor)), found = reach(W, STEPS);
    if (found.norms.at(-1) > 1e60) throw new Wrong("W_hh: the hidden state explodes beyond what a card can show");
    return { ...handGradients(W, W_hx, W_yh, inputs, targets), ...found };
  },
  equations(state, n) {
    const T = n.losses.length;
    return [
      ["J = Σ_t J_t", `${said(sum(n.losses))} = ${n.losses.map(said).join(" + ")}`],
      ["dJ_t/do_t = softmax(o_t) - y_t", n.of_outputs.map(vectorSaid).join("\n")],
      [`dJ_t/dh_i = (W_hh^T)^{t-i} W_yh^T (softmax(o_t) - y_t), t = ${T}`, n.of_hidden[T - 1].map((g, i) => `i = ${i + 1}: ${vectorSaid(g)}`).join("\n")],
      ["dJ/dW_hh = Σ_t Σ_{i≤t} (dJ_t/dh_i) h_{i-1}^T", matrixSaid(n.W_hh)],
      ["with the terms i = t alone", `off by ${said(100 * n.one_term_error)} %`],
      ["spectral radius of W_hh", said(n.radius)],
    ];
  },
  say(state, { radius, norms }) {
    const fate = Math.abs(radius - 1) < 1e-6 ? "stays" : radius < 1 ? "vanishes" : "explodes", most = Math.max(...norms);
    const bump = radius < 1 && most > 1.0001 * Math.max(norms[0], norms.at(-1)) ? ` It first rises to ${said(most)} times, because W_hh is not normal.` : "";
    return `The spectral radius is ${said(radius)}, so a gradient ${fate} with its powers: ${STEPS} steps back it is multiplied by ${said(norms.at(-1))} at most.${bump} W_hh is used at every step, so its gradient is a sum over all of them.`;
  },
  draw({ factor }, { norms, radius }) {
    const low = 1e-6, high = 1e6, points = f => range(STEPS + 1).map(n => [n, Math.min(high * 10, Math.max(low / 10, f(n)))]);
    return {
      kind: "lines", title: "What is left of a gradient after n steps back", caption: "On a logarithmic scale. Drag the end of the dashed line: W stretches with it.",
      x: { low: 0, high: STEPS, words: "steps back n" }, y: { low, high, log: true, words: "factor" },
      series: [{ name: "‖Wⁿ‖", css: "s1", points: points(n => norms[n]) }, { name: "radiusⁿ", css: "s2", dashed: true, points: points(n => radius ** n) }],
      rule: 1,
      grips: radius ? [{ at: [STEPS, Math.min(high, Math.max(low, radius ** STEPS))], css: "s2", move: y => ({ factor: Math.min(2, Math.max(0.2, Math.round(100 * factor / radius * y ** (1 / STEPS)) / 100)) }) }] : [],
    };
  },
};

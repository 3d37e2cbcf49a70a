// Whether an answer to a puzzle is right, and why not: the judges of heed's explore/judges.py, by what attention does
// with the answer or by the equation, never by comparison with a stored one.
import { dot, largest, mean, norm, plus, product, scaled, softmax, times, transposed } from "./algebra.js";
import { said } from "./words.js";

const TOLERANCE = 0.05, FINE = 1e-3;
const apart = (A, B) => largest(A.flat().map((x, i) => x - B.flat()[i]));
const told = (right, reason, weights) => ({ right, reason, weights });

export const JUDGES = {
  output({ K, V, wanted, said_wanted, tolerance }, answer) {
    const queries = Array.isArray(answer[0]) ? answer : [answer], weights = mean(queries.map(q => softmax(times(K, q))));
    const error = largest(plus(times(transposed(V), weights), wanted, -1)), heaviest = weights.indexOf(Math.max(...weights));
    if (error <= tolerance) return told(true, `The output is ${said_wanted}, within ${said(error)}.`, weights);
    return told(false, `The output is off by ${said(error)}, more than ${tolerance}: key ${heaviest} has the most weight, ${said(weights[heaviest])}.`, weights);
  },
  key({ K, V, q, which, wanted, unit }, answer) {
    if (unit && Math.abs(norm(answer) - 1) > FINE) return told(false, `The key has length ${said(norm(answer))}, it must be 1.`);
    const weights = softmax(times(K.map((k, i) => i === which ? answer : k), q)), score = dot(answer, q);
    const error = largest(plus(times(transposed(V), weights), wanted, -1));
    if (error <= TOLERANCE) return told(true, `The same query now gives what is wanted, within ${said(error)}.`, weights);
    return told(false, `The output is off by ${said(error)}: the new key has the score ${said(score)}, ${weights[which] < 0.3 ? "raise" : "lower"} it.`, weights);
  },
  number({ wanted, why, tolerance }, answer) {
    const differences = answer.flat().map((x, i) => Math.abs(x - wanted.flat()[i])), error = Math.max(...differences);
    if (error <= tolerance * Math.max(1, largest(wanted))) return told(true, why);
    const at = differences.indexOf(error), width = answer[0].length, place = width ? `${Math.floor(at / width)}, ${at % width}` : at;
    return told(false, `The number at [${place}] is off by ${said(error)}. ${why}`);
  },
  identity({ K, V }, answer) {
    const errors = product(answer.map(q => softmax(times(K, q))), V).map((row, i) => largest(plus(row, V[i], -1)));
    const worst = errors.indexOf(Math.max(...errors));
    if (errors[worst] <= TOLERANCE) return told(true, `Each row returns its value, within ${said(errors[worst])}.`);
    return told(false, `Row ${worst} is off by ${said(errors[worst])}.`);
  },
  extraction({ A, B }, answer) {
    const halved = product(answer, A), kept = apart(halved.map(row => scaled(row, 0.5)), A), left = largest(product(answer, B)) / 2;
    if (Math.max(kept, left) <= FINE) return told(true, "It keeps every v_a and drops every v_b.");
    if (kept > FINE && apart(halved, A) < FINE) return told(false, "It gives half of v_a: the average has halved it, so double.");
    return told(false, kept > FINE ? `V_a is off by ${said(kept)}.` : `${said(left)} of v_b is left.`);
  },
  projection({ Q, K, V, k }, answer) {
    const [C, D] = [answer.slice(0, k), answer.slice(k)], P = product(Q, transposed(K)).map(row => scaled(row, 1 / Math.sqrt(Q[0].length)));
    const error = apart(product(product(Q, transposed(product(C, K))), product(D, V)), product(P, V));
    return told(error <= FINE, error <= FINE ? "Both sides are equal, for the rows of C span those of P." : `The two sides differ by ${said(error)}.`);
  },
  matrices({ X, wanted }, answer) {
    const d = X[0].length, [Q, V] = [answer.slice(0, d), answer.slice(d)], weights = product(product(X, transposed(Q)), transposed(X)).map(softmax);
    const outputs = product(weights, product(X, transposed(V))), places = Object.keys(wanted).map(Number);
    const errors = places.map(i => largest(plus(outputs[i], wanted[i], -1))), most = Math.max(...errors), worst = places[errors.indexOf(most)];
    if (most <= TOLERANCE) return told(true, "Each input looks where it should and gets what it should.");
    return told(false, `c${worst + 1} is off by ${said(most)}: x${worst + 1} looks at x${weights[worst].indexOf(Math.max(...weights[worst])) + 1} most.`);
  },
};

// The verdict on an answer; null says that there is none, which is right where there is a certificate
export function check(puzzle, answer) {
  if (answer !== null) return JUDGES[puzzle.judge.kind](puzzle.judge, answer);
  if (puzzle.certificate) return told(true, `There is none: ${puzzle.hint}`);
  return told(false, "There is an answer: the linear program finds one.");
}

// Concept questions, those of `heed quiz`: choose a topic, answer, read why, and what was wrong comes again.
// A round follows from its topic, its seed and the answers so far, so that a link holds it: heed's explore/quiz.py.
import { normals, range } from "./algebra.js";
import { CARDS } from "./cards.js";
import { by, make, troubleOf } from "./controls.js";
import { QUESTIONS } from "./quiz_data.js";
import { Wrong } from "./words.js";

const LETTERS = "abcdefghijkl", LATER = 3, ALL = "all";
const TOPICS = [...new Set(QUESTIONS.map(question => question.topic))];
const several = question => question.options.filter(option => option.right).length > 1;
const shuffled = (list, seed) => {
  const draws = normals(list.length, seed);
  return range(list.length).sort((i, j) => draws[i] - draws[j]).map(i => list[i]);
};

// 0.17, 1,000, 2e-3 or 25 %, as on the terminal
export function numberIn(given) {
  let plain = given.replace(/[%_ ]/g, "").replace("−", "-");
  if (/^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$/.test(plain)) plain = plain.replaceAll(",", "");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) || !Number.isFinite(Number(plain))) throw new Wrong("Answer with a number, as in 0.17 or 2,362,368");
  return Number(plain);
}

// What an answer is worth: letters of the options in their order, or a number as text
export function mark(question, options, given) {
  if (!question.options.length) {
    const { answer, tolerance, unit, reason } = question, right = Math.abs(numberIn(given) - answer) <= tolerance + 1e-12 * Math.abs(answer);
    return { right, told: [`It is ${Number.isInteger(answer) ? answer.toLocaleString("en") : Number(answer.toPrecision(6))}${unit && ` ${unit}`}. ${reason}`] };
  }
  const chosen = new Set(given), known = LETTERS.slice(0, options.length);
  if (!given || [...chosen].some(letter => !known.includes(letter))) throw new Wrong(several(question) ? "Choose one answer or several" : "Choose an answer");
  return {
    right: options.every((option, i) => option.right === chosen.has(LETTERS[i])),
    told: options.flatMap((option, i) => option.right || chosen.has(LETTERS[i]) ? [`${LETTERS[i]} is ${option.right ? "right" : "wrong"}: ${option.reason}`] : []),
  };
}

export function roundOf(topic, seed, answers) {
  const asked = QUESTIONS.filter(question => topic === ALL || question.topic === topic), waiting = shuffled(asked, seed), missed = new Set(), marks = [];
  const options = new Map(asked.map((question, i) => [question.id, shuffled(question.options, seed + 1 + i)]));
  for (const given of answers) {
    const question = waiting.shift();
    if (!question) throw new Wrong("All questions are answered");
    const found = mark(question, options.get(question.id), given);
    marks.push({ question, given, ...found, again: missed.has(question.id) });
    if (found.right) continue;
    missed.add(question.id);
    waiting.splice(Math.min(LATER, waiting.length), 0, question);
  }
  return { asked, waiting, missed, marks, options: question => options.get(question.id) };
}

const words = text => text.split("`").map((part, i) => i % 2 ? make("code", part) : part);

export function buildQuiz() {
  const select = make("select", [[ALL, QUESTIONS.length, "all topics"], ...TOPICS.map(topic => [topic, QUESTIONS.filter(q => q.topic === topic).length, topic.replaceAll("-", " ")])]
    .map(([value, count, said]) => make("option", `${said} (${count})`, "", { value })));
  const count = make("p", "", "muted"), legend = make("legend"), box = make("div"), verdict = make("div", "", "", { role: "status" });
  const button = make("button", "Answer", "button strong"), link = make("button", "Copy the link", "button", { type: "button" }), anew = make("button", "Another round", "button", { type: "button" });
  const form = make("form", [make("fieldset", [legend, box]), verdict, make("div", [button, link, anew], "row")], "", { novalidate: "" }), trouble = troubleOf();
  let state = { topic: ALL, seed: 1 + Math.floor(Math.random() * 1e6), answers: [], told: false }, round;

  const linkOf = () => `#quiz?topic=${state.topic}&seed=${state.seed}&answers=${state.answers.join(";")}${state.told ? "&told=yes" : ""}`;
  function turn(part, quiet = false) {
    const next = { ...state, ...part };
    try { round = roundOf(next.topic, next.seed, next.answers); } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      trouble.say(error.message);
      return;
    }
    state = { ...next, told: next.told && next.answers.length > 0 };
    trouble.clear();
    show();
    if (!quiet) history.replaceState(null, "", linkOf());
  }
  // The question that is asked, or the one that was answered last with what is to be said of it
  function show() {
    const last = state.told ? round.marks.at(-1) : null, question = last?.question ?? round.waiting[0], first = round.marks.filter(each => !each.again);
    select.value = state.topic;
    const right = first.filter(each => each.right).length, open = round.waiting.filter(each => round.missed.has(each.id)).length;
    count.textContent = `${round.asked.length - round.waiting.length} of ${round.asked.length} done, ${right} right at first${open ? `, ${open} to come again` : ""}`;
    button.hidden = !question;
    button.textContent = !last ? "Answer" : round.waiting.length ? "Next" : "See the round";
    verdict.replaceChildren();
    if (!question) {
      legend.textContent = `The round is done: ${right} of ${first.length} right at first.`;
      const wrong = round.asked.filter(each => round.missed.has(each.id));
      box.replaceChildren(...wrong.length ? [make("p", "Look at again:"), make("ul", wrong.map(each => make("li", [...words(each.text), ...seen(each)])))] : []);
      return;
    }
    const again = !last && round.missed.has(question.id) ? ", again" : "";
    legend.replaceChildren(make("span", `${question.topic.replaceAll("-", " ")}${again}`, "eyebrow"), ...words(question.text), several(question) ? make("span", " Several are right.", "muted") : "");
    box.replaceChildren(...fields(question, last));
    if (!last) return;
    const comes = last.right ? "✓ Right." : "✗ Wrong: it comes again.";
    verdict.append(make("p", comes, `say verdict ${last.right ? "right" : "wrong"}`), make("ul", last.told.map(each => make("li", words(each)))), make("p", seen(question), "muted"));
  }
  function fields(question, last) {
    const held = last ? { disabled: "" } : {};
    if (!question.options.length) {
      const input = make("input", "", "", { type: "text", inputmode: "decimal", autocomplete: "off", ...held });
      if (last) input.value = last.given;
      return [make("label", [`Your number${question.unit && ` (${question.unit})`}`, input], "field number")];
    }
    return round.options(question).map((option, i) => {
      const input = make("input", "", "", { type: several(question) ? "checkbox" : "radio", name: "quiz-option", value: LETTERS[i], ...held });
      input.checked = Boolean(last?.given.includes(LETTERS[i]));
      const sign = !last ? "" : option.right ? "✓ " : input.checked ? "✗ " : "";
      return make("label", [input, make("span", [make("strong", LETTERS[i]), " ", sign, ...words(option.text)])], "check");
    });
  }
  // Where one can see it: a card of this page, a command
  function seen({ card, command }) {
    const [id] = card.split("?"), title = CARDS[id]?.title ?? "Puzzles", parts = [];
    if (card) parts.push(" See the card ", make("a", title, "", { href: `#${card}` }), ".");
    if (command) parts.push(" In a terminal: ", make("code", command), ".");
    return parts;
  }
  function given() {
    const question = round.waiting[0];
    if (!question.options.length) return String(numberIn(box.querySelector("input").value));
    return [...box.querySelectorAll("input:checked")].map(input => input.value).join("");
  }
  form.addEventListener("submit", event => {
    event.preventDefault();
    if (state.told) {
      turn({ told: false });
      (box.querySelector("input") ?? anew).focus();
      return;
    }
    try { turn({ answers: [...state.answers, given()], told: true }); } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      trouble.say(error.message);
      return;
    }
    if (state.told) button.focus();
  });
  form.addEventListener("input", () => trouble.clear());
  const begin = topic => turn({ topic, seed: state.seed + 1000, answers: [], told: false });
  select.addEventListener("change", () => begin(select.value));
  anew.addEventListener("click", () => { begin(state.topic); box.querySelector("input").focus(); });
  link.addEventListener("click", async () => {
    history.replaceState(null, "", linkOf());
    try { await navigator.clipboard.writeText(location.href); } catch { /* it is in the address bar */ }
    count.textContent = "The link is copied, or stands in the address bar.";
  });
  by("cards").append(make("section", [
    make("h2", "Questions", "", { id: "quiz-title" }), make("p", "What the figures of a laboratory rest on. Each answer has its reason, and what was answered wrongly comes again after three others.", "lead"),
    make("label", ["Topic", select], "field puzzle"), count, form, trouble.element,
  ], "card quiz", { id: "quiz", "aria-labelledby": "quiz-title" }));
  turn({}, true);
  return {
    questions: QUESTIONS, mark, numberIn, roundOf, state: () => state,
    read(text) {
      const wanted = new URLSearchParams(text), topic = wanted.get("topic") ?? ALL, seed = Number(wanted.get("seed") ?? 1), answers = wanted.get("answers");
      if (topic !== ALL && !TOPICS.includes(topic)) { trouble.say(`Topic: unknown value “${topic.slice(0, 20)}”`); return; }
      if (!Number.isSafeInteger(seed) || seed < 0) { trouble.say("Seed: must be a whole number of at least 0"); return; }
      turn({ topic, seed, answers: answers ? answers.split(";") : [], told: wanted.get("told") === "yes" }, true);
    },
  };
}

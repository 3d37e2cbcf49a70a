// Puzzles whose answers are checked, with the reason where one is wrong: those of the assignments, and generated ones.
import { mean, softmax, times, transposed, zeros } from "./algebra.js";
import { combinationSaid, keysFigure } from "./cards/queries.js";
import { buildControl, by, formula, make, readOf, textOf, troubleOf } from "./controls.js";
import { dragging, drawn } from "./drawing.js";
import { check } from "./judges.js";
import { PUZZLES } from "./puzzle_data.js";
import { Wrong, matrixSaid, vectorSaid } from "./words.js";

const GROUPS = {
  cse517: "CSE 517: attention by hand", hw6: "Homework 6: adapting models", hw5: "Homework 5: from scratch", practical: "Practical: knowledge",
  select: "Made: select a key", average: "Made: average keys", weights: "Made: hit weights", key: "Made: replace a key", extract: "Made: take a signal out",
};
const groupOf = puzzle => puzzle.id.split("-")[0];

export function buildPuzzles() {
  const select = make("select", "", "", { id: "puzzle" }), text = make("p", "", "lead"), given = make("dl", "", "pairs equations"), live = make("dl", "", "pairs equations");
  const image = make("div", "", "image"), caption = make("figcaption"), figure = make("figure", [image, caption]), settings = make("div", "", "knobs");
  const trouble = troubleOf(), refuse = trouble.say, verdict = make("p", "", "say verdict", { role: "status" }), proof = make("p", "", "muted");
  let puzzle, answer, control, shown, handles = [], solved = new Set();

  for (const [group, words] of Object.entries(GROUPS)) {
    const options = PUZZLES.filter(each => groupOf(each) === group).map(each => make("option", each.id, "", { value: each.id }));
    select.append(make("optgroup", options, "", { label: words }));
  }
  function turn(part) {
    answer = part.answer;
    trouble.clear();
    say(null);
    show();
  }
  function show() {
    shown.show({ answer }, null);
    const now = whatItDoes(), width = Math.floor(image.clientWidth);
    figure.hidden = !now;
    live.replaceChildren(...(now ? [["weights now", now.weights], ["output now", now.output], ["wanted", puzzle.judge.wanted]] : []).map(row));
    if (!now || !width) return;
    const drawing = drawn(now.figure, width);
    handles = drawing.handles;
    image.replaceChildren(drawing.svg);
    caption.textContent = now.figure.caption;
  }
  // What attention does with the answer as it stands; nothing where no attention is asked about
  function whatItDoes() {
    const { keys, values } = puzzle.given, { which, q, wanted } = puzzle.judge;
    if (!["output", "key"].includes(puzzle.judge.kind)) return null;
    const moved = puzzle.kind === "key" ? keys.map((k, i) => i === which ? answer : k) : keys;
    const asked = puzzle.kind === "key" ? [q] : puzzle.kind === "query" ? [answer] : answer;
    const weights = mean(asked.map(query => softmax(times(moved, query)))), output = times(transposed(values), weights);
    const figure = keys[0].length === 2 && asked.length === 1
      ? keysFigure({
        keys: moved, query: asked[0], weights, wanted, certificate: verdict.dataset.proved ? puzzle.certificate : null,
        moveKey: i => i === which ? to => ({ answer: to }) : undefined, moveQuery: puzzle.kind === "key" ? undefined : to => ({ answer: to }),
      })
      : {
        kind: "bars", title: "Weights of the answer", caption: "The weight of each key, with your answer.", names: weights.map((_, i) => `k_${i}`),
        groups: [{ name: "weights", low: 0, high: 1, bars: weights.map(value => ({ value, css: "s1" })) }],
      };
    return { weights, output, figure };
  }
  const row = ([name, value]) => make("div", [make("dt", formula(name)), make("dd", Array.isArray(value[0]) ? matrixSaid(value) : vectorSaid(value), Array.isArray(value[0]) ? "matrix" : "")]);
  function say(found, extra = "") {
    verdict.replaceChildren(...formula(found ? `${found.right ? "✓ Right." : "✗ Not yet."} ${found.reason}` : ""));
    verdict.className = `say verdict${found ? (found.right ? " right" : " wrong") : ""}`;
    proof.replaceChildren(...formula(extra));
    delete verdict.dataset.proved;
  }
  function judge(none) {
    const found = check(puzzle, none ? null : answer);
    const why = found.right && none ? `The certificate: ${combinationSaid(puzzle.certificate)}, and every query has to bear it.` : "";
    say(found, why);
    if (why) verdict.dataset.proved = "yes";
    if (found.right) solved.add(puzzle.id);
    for (const option of select.querySelectorAll("option")) option.textContent = `${solved.has(option.value) ? "✓ " : ""}${option.value}`;
    show();
  }
  function choose(id) {
    puzzle = PUZZLES.find(each => each.id === id) ?? PUZZLES[0];
    const { shape } = puzzle;
    control = shape.length === 1
      ? { name: "answer", kind: "vector", words: "Your answer", width: shape[0], least: shape[0], most: shape[0] }
      : { name: "answer", kind: "matrix", words: "Your answer", width: shape[1], least: shape[0], most: shape[0] };
    answer = shape.length === 1 ? zeros(shape[0]) : zeros(shape[0], shape[1]);
    shown = buildControl(control, "puzzles", turn, refuse);
    select.value = puzzle.id;
    text.replaceChildren(...formula(puzzle.text));
    given.replaceChildren(...Object.entries(puzzle.given).filter(([name]) => name !== "weights").map(row));
    settings.replaceChildren(...shown.elements, make("div", buttons, "row"));
    trouble.clear();
    say(null);
    show();
  }
  const button = (words, act, css = "button") => {
    const made = make("button", words, css, { type: "button" });
    made.addEventListener("click", act);
    return made;
  };
  const buttons = [
    button("Check", () => judge(false), "button strong"), button("There is none", () => judge(true)),
    button("Hint", () => { proof.replaceChildren(...formula(puzzle.certificate || !puzzle.hint ? "Try the largest score that each key can have." : puzzle.hint)); }),
    button("Show an answer", () => { if (puzzle.answer) turn({ answer: structuredClone(puzzle.answer) }); else judge(true); }),
    button("Copy the link", async () => {
      history.replaceState(null, "", `#puzzles?puzzle=${puzzle.id}&answer=${textOf(control, answer)}`);
      try { await navigator.clipboard.writeText(location.href); } catch { /* it is in the address bar */ }
      proof.textContent = "The link is copied, or stands in the address bar.";
    }),
    button("Next", () => choose(PUZZLES[(PUZZLES.indexOf(puzzle) + 1) % PUZZLES.length].id)),
  ];
  select.addEventListener("change", () => choose(select.value));
  dragging(image, at => handles[at], turn);
  new ResizeObserver(() => show()).observe(image);
  by("cards").append(make("section", [
    make("h2", "Puzzles", "", { id: "puzzles-title" }), make("p", "An answer is checked by what attention does with it. That there is none is an answer as well, and has a proof.", "lead"),
    make("label", ["Puzzle", select], "field puzzle"), text,
    make("div", [figure, settings, make("div", [verdict, proof, live, given], "numbers")], "desk"), trouble.element,
  ], "card", { id: "puzzles", "aria-labelledby": "puzzles-title" }));
  choose(PUZZLES[0].id);
  return {
    puzzles: PUZZLES, check, state: () => ({ puzzle: puzzle.id, answer }),
    read(words) {
      const wanted = new URLSearchParams(words);
      choose(wanted.get("puzzle"));
      try { if (wanted.has("answer")) turn({ answer: readOf(control, wanted.get("answer"), {}) }); } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        refuse(error.message);
      }
    },
  };
}

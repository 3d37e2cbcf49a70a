// The page of cards: each is made from its data, computes on every turn, and keeps its state in a link.
import { CARDS } from "./cards.js";
import { buildControl, by, formula, holding, make, readOf, textOf, troubleOf } from "./controls.js";
import { dragging, drawn, tableOf } from "./drawing.js";
import { buildPuzzles } from "./puzzles.js";
import { buildQuiz } from "./quiz.js";
import { save, saveJSON } from "./saving.js";
import { Wrong, said } from "./words.js";

const built = {};

function buildCard(id, card) {
  const figure = make("figure"), image = make("div", "", "image"), caption = make("figcaption");
  const trouble = troubleOf(), refuse = trouble.say, say = make("p", "", "say", { "aria-live": "polite" });
  const equations = make("dl", "", "pairs equations"), values = make("details", make("summary", "Values of the figure"), "values");
  let state = structuredClone(card.start), numbers, handles = [], shown, later;

  function turn(part, quiet = false) {
    try {
      const next = { ...state, ...part };
      numbers = card.compute(next);
      state = next;
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      refuse(error.message);
      return;
    }
    trouble.clear();
    show();
    clearTimeout(later);
    if (!quiet) later = setTimeout(() => history.replaceState(null, "", linkOf()), 300);
  }
  function show() {
    for (const control of controls) control.show(state, numbers);
    say.replaceChildren(...formula(card.say(state, numbers)));
    equations.replaceChildren(...card.equations(state, numbers).map(([left, right]) => make("div", [make("dt", formula(left)), make("dd", formula(right), right.includes("\n") ? "matrix" : "")])));
    draw();
  }
  function draw() {
    const width = Math.floor(image.clientWidth);
    if (!width) return;
    shown = card.draw(state, numbers);
    const drawing = drawn(shown, width);
    handles = drawing.handles;
    image.replaceChildren(drawing.svg);
    caption.textContent = shown.caption;
    if (values.open) listValues();
  }
  function listValues() {
    const { heads, rows } = tableOf(shown), cell = value => typeof value === "number" ? said(value) : value ?? "";
    const table = make("table", [make("caption", shown.title), make("thead", make("tr", heads.map(head => make("th", head, "", { scope: "col" }))))]);
    table.append(make("tbody", rows.map(row => make("tr", row.map(value => make("td", cell(value)))))));
    values.querySelector(".scroll")?.remove();
    values.append(make("div", table, "scroll", { tabindex: "0", role: "region", "aria-label": `Values: ${shown.title}` }));
  }
  const linkOf = () => `#${id}?${new URLSearchParams(holding(card.controls).map(c => [c.name, textOf(c, state[c.name])]))}`.replaceAll("%2C", ",").replaceAll("%3B", ";");
  function read(text) {
    const given = new URLSearchParams(text), part = {};
    try {
      for (const control of holding(card.controls)) {
        if (given.has(control.name)) part[control.name] = readOf(control, given.get(control.name), { ...state, ...part });
      }
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      refuse(error.message);
      return;
    }
    turn(part, true);
  }

  const controls = card.controls.map(control => buildControl(control, id, turn, refuse));
  dragging(image, at => handles[at], turn);
  values.addEventListener("toggle", () => { if (values.open) listValues(); });
  const tools = make("p", "", "row tools"), told = make("span", "", "muted", { role: "status" });
  for (const [words, act] of [
    ["Copy the link", async () => {
      history.replaceState(null, "", linkOf());
      try { await navigator.clipboard.writeText(location.href); told.textContent = "Copied."; } catch { told.textContent = "The link is in the address bar."; }
    }],
    ["SVG", () => save(image.firstChild, `heed-${id}`, "svg")],
    ["PNG", () => save(image.firstChild, `heed-${id}`, "png")],
    ["JSON", () => saveJSON({ card: id, state, numbers, explanation: card.say(state, numbers) }, `heed-${id}`)],
    ["Start again", () => turn(structuredClone(card.start))],
  ]) {
    const button = make("button", words, "", { type: "button" });
    if (words.length < 5) button.setAttribute("aria-label", `Save as ${words}`);
    button.addEventListener("click", act);
    tools.append(button);
  }
  if (card.puzzle) tools.append(make("a", "A puzzle of this", "", { href: `#puzzles?puzzle=${card.puzzle}` }));
  tools.append(told);
  figure.append(image, caption);
  const section = make("section", [
    make("h2", card.title, "", { id: `${id}-title` }), make("p", formula(card.lead), "lead"),
    make("div", [
      figure,
      make("div", controls.flatMap(c => c.elements), "knobs", { role: "group", "aria-label": `Settings: ${card.title}` }),
      make("div", [say, equations, values, tools], "numbers"),
    ], "desk"), trouble.element,
  ], "card", { id, "aria-labelledby": `${id}-title` });
  new ResizeObserver(() => draw()).observe(image);
  built[id] = { turn, read, state: () => state, numbers: () => numbers, compute: card.compute, inputs: card.inputs, start: card.start };
  by("cards").append(section);
  turn({}, true);
}

function openLink() {
  const [id, text] = location.hash.slice(1).split(/\?(.*)/s);
  if (!(id in built)) return;
  if (text) built[id].read(text);
  by(id).scrollIntoView();
}

for (const [id, card] of Object.entries(CARDS)) {
  by("contents").append(make("li", make("a", card.title, "", { href: `#${id}` })));
  buildCard(id, card);
}
for (const [id, title, build] of [["puzzles", "Puzzles", buildPuzzles], ["quiz", "Questions", buildQuiz]]) {
  by("contents").append(make("li", make("a", title, "", { href: `#${id}` })));
  built[id] = build();
}
addEventListener("hashchange", openLink);
openLink();
globalThis.heed = built; // for the console: heed.queries.compute({...heed.queries.start, query: [1, 2]})

// The page: a table of runs, the curves of those that are chosen, how their settings differ, and what they write.
// Whatever a run says is put in as text. What is chosen stands in the address, so that it can be kept.
import { Refusal, ask, known, useKey } from "./asking.js";
import { drawCurves, seriesOf } from "./curves.js";

const $ = id => document.getElementById(id);
const make = (name, content = "", css = "") => {
  const element = document.createElement(name);
  element.textContent = content;
  if (css) element.className = css;
  return element;
};
const MOST = 24, QUICK = 1000, SLOW = 3000;
const FIGURES = { loss: "loss", word_perplexity: "word perplexity", token_perplexity: "token perplexity", bits_per_byte: "bits per byte",
  sequence_mean_loss: "sequence mean loss", accuracy: "accuracy" };
const COLUMNS = [["name", "run"], ["corpus", "corpus"], ["model", "model"], ["steps", "steps"]];
const NUMERIC = new Set(["steps", "time", ...Object.keys(FIGURES)]);

// ------------------------------------------------------------------ what is asked for
const state = { where: [], sort: "", reverse: false, chosen: null, axis: 0, third: "", paused: false };
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.where = given.getAll("where");
  state.sort = given.get("sort") || "";
  state.reverse = given.has("reverse");
  state.axis = Math.min(2, Math.max(0, Number(given.get("axis")) || 0));
  state.third = given.get("figure") || "";
  state.chosen = given.has("run") ? given.getAll("run").filter(Boolean).slice(0, MOST) : null;
  $("where").value = state.where.join(", ");
  $("axis").value = String(state.axis);
}
function writeAddress() {
  const told = new URLSearchParams();
  for (const one of state.where) told.append("where", one);
  if (state.sort) told.set("sort", state.sort);
  if (state.reverse) told.set("reverse", "");
  if (state.axis) told.set("axis", state.axis);
  if (state.third) told.set("figure", state.third);
  if (state.chosen) for (const name of state.chosen.length ? state.chosen : [""]) told.append("run", name);
  history.replaceState(null, "", `#${told}`);
}

// ------------------------------------------------------------------ asking again and again
let timer = 0, asking = false, again = false;
async function refresh() {
  clearTimeout(timer);
  if (asking) { again = true; return; }
  asking = true;
  let pause = SLOW;
  try {
    const curves = ["train/loss", "validation/loss", ...(state.third ? [state.third] : [])];
    const question = { where: state.where, reverse: state.reverse, curves };
    if (state.sort) question.sort = state.sort;
    if (state.chosen) question.chosen = state.chosen;
    const said = await ask(question);
    if (said.running || said.many.some(one => one.state === "running")) pause = QUICK;
    trouble("");
    if (!again) show(said);  // else it answers what is asked for no longer
  } catch (error) {
    $("key-box").hidden = !(error instanceof Refusal && error.status === 401);
    trouble(error instanceof Refusal ? error.message : "The board does not answer. It is asked again every few seconds; is heed board still running?");
  }
  asking = false;
  const next = again;
  again = false;
  if (next) refresh();
  else if (!state.paused && !document.hidden) timer = setTimeout(refresh, pause);
}
function trouble(text) {
  $("trouble").hidden = !text;
  if (text) $("trouble").firstElementChild.textContent = text;
}

// ------------------------------------------------------------------ what is shown
const shownFor = {};
// do something where what it shows has changed
function changed(name, value, act) {
  const text = JSON.stringify(value);
  if (shownFor[name] === text) return;
  shownFor[name] = text;
  act();
}
function show(said) {
  $("key-box").hidden = true;
  const running = said.running ? `${said.running} running` : "none running";
  const shown = known.groups.reduce((sum, group) => sum + group.runs.length, 0);
  $("lead").textContent = `${said.count.toLocaleString("en")} run${said.count === 1 ? "" : "s"}, ${running}`
    + (shown === said.count ? "" : `; ${shown.toLocaleString("en")} shown`) + `. Looked at ${new Date().toLocaleTimeString("en-GB")}.`;
  $("problem").hidden = !said.problem;
  $("problem").textContent = said.problem;
  changed("many", said.many, () => showMany(said.many));
  changed("rows", [known.version, known.order, said.chosen, state.sort, state.reverse], () => showRows(said.chosen));
  changed("notes", said.notes, () => {});
  showNotes(said.notes);
  changed("thirds", said.names, () => showThirds(said.names));
  const alike = new Set(Object.values(said.alike));
  changed("alike", said.alike, () => showUnlike(said.alike, alike));
  drawCurves($("figures"), said.chosen, state, said.best, alike.size);
  $("none").hidden = said.chosen.length > 0;
  changed("differ", [said.differ, said.chosen], () => showDiffer(said.differ, said.chosen));
  changed("samples", [said.samples, said.chosen], () => showSamples(said.samples, said.chosen));
}

function showMany(many) {
  $("many-section").hidden = !many.length;
  $("many").replaceChildren(...many.map(one => {
    const row = make("tr"), head = make("th", one.name, "wide");
    head.scope = "row";
    const left = one.left_said || (one.state === "running" ? "not known yet" : "");
    row.append(head, make("td", one.note ? `${one.title} (${one.note})` : one.title, "wide"), stateCell(one.state),
      ...[`${one.done}/${one.total}`, one.running || "", one.failed || "", left].map(text => make("td", String(text), "n")));
    return row;
  }));
}
function stateCell(text) {
  const bad = /damaged|LEAKS|not finite/.test(text);
  return make("td", text, `state${text.startsWith("running") ? " running" : ""}${bad ? " bad" : ""}`);
}

let boxes = new Map();
function showRows(chosen) {
  const rows = known.groups.flatMap(group => group.runs).map(name => known.rows.get(name)).filter(Boolean);
  const all = Object.keys(FIGURES).filter(name => rows.some(row => row.figures[name]));
  // token perplexity is exp(loss)
  const figures = all.filter(name => name !== "token_perplexity" || state.sort === name || !all.includes("loss"));
  const columns = [...COLUMNS, ...figures.map(name => [name, FIGURES[name]]), ["", "of"], ["seconds", "time"], ["state", "state"]];
  const sorts = $("sort");
  if (!sorts.options.length) {
    const names = ["", "name", "steps", "seconds", "state", ...Object.keys(FIGURES)];
    sorts.append(...names.map(name => { const one = make("option", name ? (FIGURES[name] || name) : "the newest first"); one.value = name; return one; }));
  }
  if (state.sort && ![...sorts.options].some(one => one.value === state.sort)) { const one = make("option", state.sort); one.value = state.sort; sorts.append(one); }
  sorts.value = state.sort;
  const heads = make("tr");
  heads.append(...columns.map(([name, label]) => {
    const head = make("th", name ? "" : label, NUMERIC.has(name) || name === "seconds" ? "n" : "");
    head.scope = "col";
    if (name) {
      const button = make("button", label);
      button.type = "button";
      button.addEventListener("click", () => {
        state.reverse = state.sort === name && !state.reverse;
        state.sort = name;
        writeAddress();
        refresh();
      });
      head.append(button);
      if (state.sort === name) head.setAttribute("aria-sort", state.reverse ? "descending" : "ascending");
    }
    return head;
  }));
  const focused = document.activeElement?.dataset?.run;
  $("heads").replaceChildren(heads);
  boxes = new Map();
  const parts = [];
  for (const group of known.groups) {
    if (known.groups.length > 1) {
      const line = make("tr", "", "about"), cell = make("td", `Measured on: ${group.about}`);
      if (group.about.startsWith("no ")) cell.textContent = group.about;
      cell.colSpan = columns.length;
      line.append(cell);
      parts.push(line);
    }
    for (const name of group.runs) if (known.rows.has(name)) parts.push(rowOf(known.rows.get(name), figures, chosen));
  }
  $("rows").replaceChildren(...parts);
  if (focused) boxes.get(focused)?.focus();
  const letters = new Map(rows.filter(row => row.of).map(row => [row.of.split(" ")[0], row.measured]));
  $("letters").replaceChildren(...[...letters].sort().flatMap(([letter, about]) => [make("b", letter), ` ${about}`, make("br")]));
}
function rowOf(row, figures, chosen) {
  const line = make("tr"), head = make("th", "", "wide"), label = make("label", "", "pick"), box = make("input");
  const place = chosen.indexOf(row.name);
  head.scope = "row";
  head.title = row.name;
  Object.assign(box, { type: "checkbox", checked: place >= 0 });
  box.dataset.run = row.name;
  box.addEventListener("change", () => pick(row.name, box.checked));
  boxes.set(row.name, box);
  label.append(box);
  if (place >= 0) {
    const { kind, dash } = seriesOf(place);
    label.classList.add(kind);
    label.insertAdjacentHTML("beforeend", `<svg class="swatch" viewBox="0 0 18 10" aria-hidden="true"><path class="${dash}" d="M0 5h18"/></svg>`);
  }
  label.append(make("span", row.name));
  head.append(label);
  const model = make("td", row.model), of = make("td", row.of);
  of.title = row.measured;
  line.append(head, make("td", row.corpus), model, make("td", row.steps, "n"), ...figures.map(name => make("td", row.figures[name] || "", "n")),
    of, make("td", row.time, "n"), stateCell(row.state));
  return line;
}
function pick(name, on) {
  const now = state.chosen || known.last?.chosen || [];  // what was answered last may be of an earlier choice
  state.chosen = on ? [...now.filter(one => one !== name), name] : now.filter(one => one !== name);
  if (state.chosen.length > MOST) {
    state.chosen.shift();
    trouble(`At most ${MOST} runs are drawn together: the one that was chosen first was taken out.`);
  }
  writeAddress();
  refresh();
}
function showNotes(notes) {
  const bad = [...known.rows.values()].filter(row => row.notes.length);
  changed("noted", [notes, bad.map(row => [row.name, row.notes])], () => {
    const lines = [...notes, ...bad.flatMap(row => row.notes.map(note => `${row.name}: ${note}`))];
    $("notes").replaceChildren(...lines.map(line => make("p", line, "small")));
  });
}
function showThirds(names) {
  const others = names.filter(name => name !== "train/loss" && name !== "validation/loss");
  if (!others.includes(state.third)) {
    state.third = ["validation/word_perplexity", "validation/bits_per_byte", "validation/accuracy", "train/gradient_norm"].find(name => others.includes(name)) || others[0] || "";
    if (state.third) setTimeout(refresh);
  }
  $("third").replaceChildren(...others.map(name => { const one = make("option", name.replaceAll("_", " ")); one.value = name; return one; }));
  $("third").value = state.third;
}
function showUnlike(alike, kinds) {
  $("unlike").hidden = kinds.size < 2;
  const lines = [...kinds].map(kind => `${Object.keys(alike).filter(name => alike[name] === kind).join(", ")}: ${kind}`);
  $("unlike").firstElementChild.textContent = `These runs are not measured alike, so their validation curves cannot be compared with each other. ${lines.join(". ")}.`;
}
function showDiffer(differ, chosen) {
  $("differ-section").hidden = !differ.names.length;
  const heads = make("tr");
  heads.append(...["run", ...differ.names].map(name => { const head = make("th", name); head.scope = "col"; return head; }));
  $("differ-heads").replaceChildren(heads);
  $("differ").replaceChildren(...chosen.map(name => {
    const line = make("tr"), head = make("th", name, "wide");
    head.scope = "row";
    head.title = name;
    line.append(head, ...differ.values[name].map(value => make("td", value, "wide")));
    return line;
  }));
}
function showSamples(samples, chosen) {
  const those = chosen.filter(name => samples[name]);
  $("samples-section").hidden = !those.length;
  $("samples").replaceChildren(...those.map(name => {
    const { prompt, text, step } = samples[name], article = make("article", "", "sample"), words = make("p", "", "text");
    words.tabIndex = 0;
    words.setAttribute("role", "region");
    words.setAttribute("aria-label", `Text of ${name}`);
    words.append(make("span", prompt, "prompt"), text);
    article.append(make("h3", name), words, make("p", step === null ? "when it had ended" : `at step ${step.toLocaleString("en")}`, "how"));
    return article;
  }));
}

// ------------------------------------------------------------------ what is touched
$("filter").addEventListener("submit", event => {
  event.preventDefault();
  state.where = $("where").value.split(",").map(text => text.trim()).filter(Boolean);
  if ($("sort").value !== state.sort) Object.assign(state, { sort: $("sort").value, reverse: false });
  writeAddress();
  refresh();
});
$("sort").addEventListener("change", () => $("filter").requestSubmit());
for (const [id, act] of [["axis", value => { state.axis = Number(value); }], ["third", value => { state.third = value; }]])
  $(id).addEventListener("change", event => { act(event.target.value); writeAddress(); refresh(); });
$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").textContent = state.paused ? "Go on" : "Pause";
  if (state.paused) clearTimeout(timer);
  else refresh();
});
$("key-box").addEventListener("submit", event => {
  event.preventDefault();
  useKey($("key").value);
  refresh();
});
addEventListener("hashchange", () => { readAddress(); refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && !state.paused) refresh(); });
readAddress();
addEventListener("load", refresh);

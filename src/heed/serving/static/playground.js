// The playground: a prompt, the settings of a request, and the answer, token by token. It asks this server alone.
import { USUAL, Refusal, ask, bodyOf, complete, pieces, percent, shade } from "./completions.js";
import { curl, python } from "./code.js";
import { PRESETS } from "./presets.js";

const by = id => document.getElementById(id);
const make = (name, content = "", css = "") => {
  const element = document.createElement(name);
  element.textContent = content;
  if (css) element.className = css;
  return element;
};
const KNOBS = [
  ["max_tokens", "Maximum length", 1, 512, 1, 64],
  ["temperature", "Temperature", 0, 2, 0.01, USUAL.temperature],
  ["top_p", "Top p", 0.01, 1, 0.01, USUAL.top_p],
  ["frequency_penalty", "Frequency penalty", -2, 2, 0.01, USUAL.frequency_penalty],
  ["presence_penalty", "Presence penalty", -2, 2, 0.01, USUAL.presence_penalty],
  ["best_of", "Best of", 1, 20, 1, USUAL.best_of],
];
const MOST_STOPS = 4, MOST_KEPT = 50;
const START = { ...Object.fromEntries(KNOBS.map(knob => [knob[0], knob[5]])), stop: [], seed: "", probabilities: "off", stream: true };

// ------------------------------------------------------------------ what is kept in this browser
const kept = {
  read(name, otherwise, store = localStorage) {
    try { return JSON.parse(store.getItem(`heed.playground.${name}`)) ?? otherwise; } catch { return otherwise; }
  },
  write(name, value, store = localStorage) {
    try { store.setItem(`heed.playground.${name}`, JSON.stringify(value)); return true; } catch { return false; }
  },
};
const settings = { model: "", ...START, ...kept.read("settings", {}) };
let models = [], history = kept.read("history", []), shown = null, underWay = null, tokens = [];

// ------------------------------------------------------------------ settings
function buildKnobs() {
  for (const [name, words, low, high, step] of KNOBS) {
    const box = make("div", "", "knob"), label = make("label", words), number = make("input"), range = make("input");
    Object.assign(number, { type: "number", min: low, max: high, step, id: name, inputMode: "decimal" });
    Object.assign(range, { type: "range", min: low, max: high, step, tabIndex: -1 });
    range.setAttribute("aria-hidden", "true"); // the number beside it says and does the same
    range.dataset.of = label.htmlFor = name;
    number.addEventListener("change", () => turn(name, number.value));
    range.addEventListener("input", () => turn(name, range.value));
    box.append(label, number, range);
    by("knobs").append(box);
  }
}

function turn(name, value) {
  const [, , low, , step, usual] = KNOBS.find(knob => knob[0] === name);
  const most = Number(by(name).max), given = value === "" || Number.isNaN(Number(value)) ? usual : Number(value);
  settings[name] = Math.min(most, Math.max(low, step === 1 ? Math.round(given) : given));
  showSettings();
}

function showSettings() {
  const model = models.find(each => each.id === settings.model);
  const room = Math.max(1, model?.context ?? 512);
  for (const [name] of KNOBS) {
    const range = document.querySelector(`[data-of=${name}]`);
    if (name === "max_tokens") by(name).max = range.max = room;
    if (name === "max_tokens") settings[name] = Math.min(settings[name], room);
    by(name).value = range.value = settings[name];
  }
  by("model").value = settings.model;
  by("seed").value = settings.seed;
  by("probabilities").value = settings.probabilities;
  by("stream").checked = settings.stream && settings.best_of === 1;
  by("stream").disabled = settings.best_of > 1; // the best is known when all are whole
  by("stops").replaceChildren(...settings.stop.map((stop, i) => {
    const item = make("li"), button = make("button", JSON.stringify(stop).slice(1, -1));
    button.type = "button";
    button.setAttribute("aria-label", `Take away the stop sequence ${JSON.stringify(stop)}`);
    button.addEventListener("click", () => { settings.stop = settings.stop.filter((_, at) => at !== i); showSettings(); by("stop-entry").focus(); });
    item.append(button);
    return item;
  }));
  by("stop-entry").disabled = by("add-stop").disabled = settings.stop.length >= MOST_STOPS;
  kept.write("settings", settings);
}

function addStop() {
  const written = by("stop-entry").value.replace(/\\(n|t|r|\\)/g, (_, letter) => ({ n: "\n", t: "\t", r: "\r", "\\": "\\" })[letter]);
  if (written && !settings.stop.includes(written)) settings.stop = [...settings.stop, written].slice(0, MOST_STOPS);
  by("stop-entry").value = "";
  showSettings();
}

async function findModels() {
  const found = await (await ask("v1/models", { key: key() })).json();
  models = found.data.map(each => ({ id: each.id, context: each.context, logprobs: each.top_logprobs }));
  by("model").replaceChildren(...models.map(each => make("option", each.id)));
  if (!models.some(each => each.id === settings.model)) settings.model = models[0]?.id ?? "";
  complain("");
  showSettings();
}

const key = () => by("key").value.trim();

function complain(message, status = 200) {
  by("trouble").hidden = !message;
  by("trouble").firstElementChild.textContent = message;
  if (status === 401 || status === 403) {
    by("key-box").open = true;
    by("key").focus();
  }
}

// ------------------------------------------------------------------ asking
async function submit(prompt = by("prompt").value) {
  if (underWay) return;
  by("prompt").value = prompt;
  kept.write("prompt", prompt);
  const most = models.find(each => each.id === settings.model)?.logprobs ?? 5;
  const body = bodyOf(settings, prompt, Math.min(most, 5)), began = performance.now();
  underWay = new AbortController();
  complain("");
  busy(true);
  let drawing = 0;
  const entry = { at: new Date().toISOString(), prompt, settings: { ...settings }, text: "", logprobs: null, finish: null };
  const grown = answer => {
    Object.assign(entry, answer);
    drawing ||= requestAnimationFrame(() => { drawing = 0; show(entry); });
  };
  try {
    show(entry);
    Object.assign(entry, await complete(body, { key: key(), signal: underWay.signal, grown }));
    entry.status = told(entry, (performance.now() - began) / 1000);
  } catch (error) {
    if (error.name === "AbortError") {
      entry.finish = "stopped";
      entry.status = "Stopped; what had come stays.";
    } else {
      complain(error instanceof Refusal ? error.message : `The page failed: ${error.message}`, error.status);
      entry.status = "";
    }
  }
  cancelAnimationFrame(drawing);
  underWay = null;
  busy(false);
  show(entry);
  by("status").textContent = entry.status;
  if (entry.text || entry.finish) remember(entry);
}

function told({ usage, finish }, seconds) {
  const why = { length: "reached the maximum length", stop: "came to an end or a stop sequence" }[finish] ?? finish ?? "ended";
  if (!usage) return `Done in ${seconds.toFixed(1)} s: it ${why}.`;
  const count = usage.completion_tokens;
  return `${count} token${count === 1 ? "" : "s"} in ${seconds.toFixed(seconds < 1 ? 2 : 1)} s: it ${why}.`;
}

function busy(now) {
  by("submit").hidden = now;
  by("stop").hidden = !now;
  by("take").hidden = by("again").hidden = now || !shown;
  by("text").setAttribute("aria-busy", now);
  if (now) by("status").textContent = "Writing …";
  if (now) by("stop").focus({ preventScroll: true });
  else if (document.activeElement === document.body || document.activeElement === by("stop")) by("prompt").focus({ preventScroll: true });
}

// ------------------------------------------------------------------ the answer
function show(entry) {
  shown = entry;
  hide();
  const box = by("text"), withProbabilities = Boolean(entry.logprobs);
  by("answer").hidden = false;
  by("take").hidden = by("again").hidden = Boolean(underWay);
  by("shades").hidden = !withProbabilities;
  box.replaceChildren(make("span", tail(entry.prompt), "given"));
  tokens = [];
  let before = entry.prompt;
  for (const piece of pieces(entry.text, entry.logprobs)) {
    const span = make("span", piece.text);
    if (withProbabilities && piece.logprob !== null && piece.logprob !== undefined) {
      span.className = `token p${shade(piece.logprob)}${piece.text === "" ? " part" : ""}${/^\s*\n/.test(piece.text) ? " break" : ""}`;
      span.setAttribute("role", "button");
      span.setAttribute("aria-haspopup", "dialog");
      span.setAttribute("aria-expanded", "false");
      span.setAttribute("aria-label", `${visible(piece.token)}, ${percent(piece.logprob)}`);
      span.tabIndex = tokens.length ? -1 : 0;
      tokens.push({ span, piece, before });
    }
    box.append(span);
    before += piece.text;
  }
}

/** The end of a prompt is enough to read on from. */
const tail = (text, most = 240) => (text.length > most ? `… ${text.slice(-most).replace(/^\S*\s/, "")}` : text);
const visible = text => `“${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"')}”`;
const typable = token => !token.startsWith("bytes:") && !/^<\|?[\w ]+\|?>$/.test(token) && token !== "";

let pinned = null, leaving = 0, returning = false;
function others(at, pin = false) {
  clearTimeout(leaving);
  const { span, piece, before } = tokens[at], box = by("others");
  if (pinned !== null && !pin) return;
  for (const each of tokens) each.span.setAttribute("aria-expanded", each.span === span);
  pinned = pin ? at : null;
  const list = make("ol");
  let sum = 0;
  for (const [token, logprob] of piece.top) {
    const item = make("li"), button = make("button", "", `other${token === piece.token ? " drawn" : ""}`), share = make("span", "", "share");
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg"), fill = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("aria-hidden", "true");
    fill.setAttribute("height", "100%");
    fill.setAttribute("width", `${100 * Math.exp(Math.min(logprob, 0))}%`);
    bar.append(fill);
    share.append(bar);
    button.type = "button";
    button.disabled = !typable(token);
    button.title = button.disabled ? "cannot be written as text" : `Go on from ${visible(token)}`;
    button.append(make("code", visible(token)), share, make("span", percent(logprob), "value"));
    button.addEventListener("click", () => { hide(); submit(before + token); });
    item.append(button);
    list.append(item);
    sum += Math.exp(logprob);
  }
  const rest = 1 - sum > 1e-6 ? ` All others together have ${percent(Math.log(1 - sum))}.` : "";
  box.replaceChildren(make("h3", `${visible(piece.token)} had ${percent(piece.logprob)}`), list,
    make("p", `Choose one to go on from it.${rest}`, "muted"));
  box.hidden = false;
  place(box, span);
}

function place(box, span) {
  box.style.left = box.style.top = "";
  if (getComputedStyle(box).position === "fixed") return;
  const paper = box.parentElement.getBoundingClientRect(), at = span.getClientRects()[0] ?? span.getBoundingClientRect();
  box.style.left = `${Math.max(0, Math.min(at.left - paper.left, paper.width - box.offsetWidth))}px`;
  box.style.top = `${at.bottom - paper.top + 6}px`;
}

function hide(back = false) {
  clearTimeout(leaving);
  const at = pinned;
  pinned = null;
  by("others").hidden = true;
  for (const each of tokens) each.span.setAttribute("aria-expanded", "false");
  returning = true;
  if (back && at !== null) tokens[at]?.span.focus();
  returning = false;
}

const indexOf = target => tokens.findIndex(each => each.span === target);

function listen() {
  const box = by("text"), panel = by("others");
  box.addEventListener("pointerover", event => {
    const at = indexOf(event.target);
    if (at >= 0 && event.pointerType === "mouse") others(at);
  });
  const leave = () => { clearTimeout(leaving); leaving = setTimeout(() => pinned === null && hide(), 250); };
  box.addEventListener("pointerleave", leave);
  panel.addEventListener("pointerleave", leave);
  panel.addEventListener("pointerenter", () => clearTimeout(leaving));
  box.addEventListener("click", event => { const at = indexOf(event.target); if (at >= 0) others(at, true); });
  box.addEventListener("focusin", event => { const at = indexOf(event.target); if (at >= 0 && !returning && event.target.matches(":focus-visible")) { pinned = null; others(at); } });
  box.addEventListener("keydown", event => {
    const at = indexOf(event.target), to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (at < 0) return;
    if (tokens[to]) {
      event.preventDefault();
      tokens[at].span.tabIndex = -1;
      tokens[to].span.tabIndex = 0;
      tokens[to].span.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      others(at, true);
      panel.querySelector("button:not(:disabled)")?.focus();
    }
  });
  panel.addEventListener("keydown", event => {
    const all = [...panel.querySelectorAll("button:not(:disabled)")], at = all.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (next !== undefined) { event.preventDefault(); all[(next + all.length) % all.length]?.focus(); }
  });
  panel.addEventListener("focusout", event => { if (!panel.contains(event.relatedTarget) && pinned !== null && event.relatedTarget) hide(); });
  document.addEventListener("pointerdown", event => { if (!panel.hidden && !panel.contains(event.target) && indexOf(event.target) < 0) hide(); });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape" || by("code").open) return;
    if (!panel.hidden) hide(true);
    else underWay?.abort();
  });

  by("form").addEventListener("submit", event => { event.preventDefault(); submit(); });
  by("prompt").addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); }
  });
  by("prompt").addEventListener("input", () => kept.write("prompt", by("prompt").value));
  by("stop").addEventListener("click", () => underWay?.abort());
  by("take").addEventListener("click", () => submit(shown.prompt + shown.text));
  by("again").addEventListener("click", () => submit(shown.prompt));
  by("model").addEventListener("change", () => { settings.model = by("model").value; showSettings(); });
  by("probabilities").addEventListener("change", () => { settings.probabilities = by("probabilities").value; showSettings(); });
  by("stream").addEventListener("change", () => { settings.stream = by("stream").checked; showSettings(); });
  by("seed").addEventListener("change", () => {
    const value = Math.floor(Number(by("seed").value));
    settings.seed = by("seed").value === "" || !(value >= 0) ? "" : Math.min(value, Number.MAX_SAFE_INTEGER);
    showSettings();
  });
  by("add-stop").addEventListener("click", addStop);
  by("stop-entry").addEventListener("keydown", event => { if (event.key === "Enter") { event.preventDefault(); addStop(); } });
  by("reset").addEventListener("click", () => { Object.assign(settings, START); showSettings(); });
  by("key").addEventListener("change", () => { kept.write("key", key(), sessionStorage); findModels().catch(failed); });
  by("preset").addEventListener("change", () => {
    const preset = PRESETS[by("preset").value];
    if (!preset) return;
    Object.assign(settings, START, preset.settings);
    by("prompt").value = preset.prompt;
    kept.write("prompt", preset.prompt);
    showSettings();
    by("prompt").focus();
  });
  by("forget").addEventListener("click", () => { history = []; kept.write("history", history); showHistory(); });
}

// ------------------------------------------------------------------ history
function remember(entry) {
  history = [structuredClone(entry), ...history].slice(0, MOST_KEPT);
  while (!kept.write("history", history) && history.length) history.pop(); // the browser's room is full
  showHistory();
}

function showHistory() {
  by("history-none").hidden = history.length > 0;
  by("forget").hidden = !history.length;
  by("history").replaceChildren(...history.map((entry, at) => {
    const item = make("li"), said = make("p", "", "said"), tools = make("div", "", "row");
    const answer = entry.text.length > 300 ? `${entry.text.slice(0, 300)} …` : entry.text;
    said.append(make("span", tail(entry.prompt.trimEnd().split("\n").at(-1), 80), "muted"), make("strong", answer));
    const when = new Date(entry.at), about = `${when.toLocaleString()} · ${entry.settings.model} · temperature ${entry.settings.temperature}`;
    const open = make("button", "Open", "button"), drop = make("button", "Forget", "button");
    open.type = drop.type = "button";
    open.setAttribute("aria-label", `Open the answer of ${when.toLocaleTimeString()}`);
    drop.setAttribute("aria-label", `Forget the answer of ${when.toLocaleTimeString()}`);
    open.addEventListener("click", () => {
      if (underWay) return;
      Object.assign(settings, entry.settings, models.some(each => each.id === entry.settings.model) ? {} : { model: settings.model });
      by("prompt").value = entry.prompt;
      kept.write("prompt", entry.prompt);
      showSettings();
      show(structuredClone(entry));
      by("status").textContent = entry.status ?? "";
      by("prompt").focus();
    });
    drop.addEventListener("click", () => { history.splice(at, 1); kept.write("history", history); showHistory(); });
    tools.append(open, drop);
    item.append(said, tools, make("p", about, "about"));
    return item;
  }));
}

// ------------------------------------------------------------------ the same by a program
let language = "curl";
function showCode() {
  const most = models.find(each => each.id === settings.model)?.logprobs ?? 5;
  const body = bodyOf(settings, by("prompt").value, Math.min(most, 5));
  by("code-text").textContent = { curl, python }[language](body, new URL("v1", location.href).href);
  by("copied").textContent = "";
  for (const button of document.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", button.dataset.language === language);
}

function listenCode() {
  by("show-code").addEventListener("click", () => { showCode(); by("code").showModal(); });
  for (const button of document.querySelectorAll("[data-language]"))
    button.addEventListener("click", () => { language = button.dataset.language; showCode(); });
  by("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(by("code-text").textContent);
      by("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(by("code-text"));
      by("copied").textContent = "Marked: copy it with the keys of your system.";
    }
  });
}

const failed = error => complain(error.message, error.status);
buildKnobs();
by("preset").append(...PRESETS.map((preset, at) => Object.assign(make("option", preset.name), { value: at })));
by("key").value = kept.read("key", "", sessionStorage);
by("prompt").value = kept.read("prompt", "");
listen();
listenCode();
showSettings();
showHistory();
findModels().catch(failed);

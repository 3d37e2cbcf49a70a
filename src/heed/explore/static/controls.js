// What a card is turned by: sliders, cells of matrices, choices and buttons. Each is made from a line of data:
//   {make(): [elements], show(state, numbers)}, and `turn(part of the state)` or `refuse(sentence)` on what a person does.
import { Wrong, matrixOf, matrixText, numberOf, pieces, said, vectorOf } from "./words.js";

export const by = id => document.getElementById(id);
// One sentence on what is wrong, which lies over the foot of its card and moves nothing
export function troubleOf() {
  const words = make("span"), element = make("p", words, "trouble", { role: "alert" });
  element.hidden = true;
  return {
    element,
    say(sentence) { words.textContent = `${sentence}. What was there before is kept.`; element.hidden = false; },
    clear() { element.hidden = true; },
  };
}
export function make(name, content = "", css = "", attributes = {}) {
  const element = document.createElement(name);
  element.append(...[content].flat());
  if (css) element.className = css;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Words as nodes: with letters below and above the line
export const formula = words => pieces(words).map(([part, level]) => level ? make(level, part) : part);

// ------------------------------------------------------------------ values as text, for links, and back
const TEXT = {
  range: String, choice: String, check: value => value ? "yes" : "no", matrix: matrixText, vector: vector => vector.join(","),
};
const READ = {
  range(control, text, state) {
    const value = numberOf(control.words, text), high = control.highOf?.(state) ?? control.high;
    if (value < control.low || value > high) throw new Wrong(`${control.words}: ${said(value)} is outside ${said(control.low)} to ${said(high)}`);
    if (control.step >= 1 && value % 1) throw new Wrong(`${control.words}: ${said(value)} is no whole number`);
    return value;
  },
  choice(control, text) {
    if (!(text in control.choices)) throw new Wrong(`${control.words}: unknown value “${text.slice(0, 20)}”`);
    return text;
  },
  check: (control, text) => text === "yes",
  matrix: (control, text) => matrixOf(control.words, text, control),
  vector: (control, text) => vectorOf(control.words, text, control),
};
export const holding = controls => controls.filter(control => control.kind in TEXT);
export const textOf = (control, value) => TEXT[control.kind](value);
export const readOf = (control, text, state) => READ[control.kind](control, text, state);

// ------------------------------------------------------------------ the controls themselves
export const buildControl = (control, id, turn, refuse) => BUILD[control.kind](control, `${id}-${control.name}`, turn, refuse);
const BUILD = {
  range(control, id, turn) {
    const { log, step } = control, slider = make("input", "", "", { type: "range", id }), output = make("output", "", "", { for: id });
    const to = value => log ? Math.log(value) : value, from = value => log ? Math.exp(value) : value;
    slider.addEventListener("input", () => {
      const value = from(Number(slider.value));
      turn({ [control.name]: log && step >= 1 ? Math.round(value) : log ? Number(value.toPrecision(3)) : value });
    });
    return {
      elements: [make("div", [make("label", formula(control.words), "", { for: id }), output, slider], "knob")],
      show(state) {
        const high = control.highOf?.(state) ?? control.high;
        Object.assign(slider, { min: to(control.low), max: to(high), step: log ? (to(high) - to(control.low)) / 200 : step });
        slider.value = to(state[control.name]);
        output.value = said(state[control.name]);
        slider.setAttribute("aria-valuetext", output.value);
      },
    };
  },
  choice(control, id, turn) {
    const select = make("select", Object.entries(control.choices).map(([value, words]) => make("option", words, "", { value })), "", { id });
    select.addEventListener("change", () => turn({ [control.name]: select.value }));
    return { elements: [make("label", [control.words, select], "field")], show: state => { select.value = state[control.name]; } };
  },
  check(control, id, turn) {
    const box = make("input", "", "", { type: "checkbox", id });
    box.addEventListener("change", () => turn({ [control.name]: box.checked }));
    return { elements: [make("label", [box, ` ${control.words}`], "check")], show: state => { box.checked = state[control.name]; } };
  },
  examples(control, id, turn) {
    const buttons = Object.entries(control.examples).map(([words, part]) => {
      const button = make("button", words, "button small", { type: "button" });
      button.addEventListener("click", () => turn(structuredClone(part)));
      return button;
    });
    return { elements: [make("div", [make("span", control.words, "muted"), ...buttons], "row examples", { role: "group", "aria-label": control.words })], show() {} };
  },
  action(control, id, turn) {
    const button = make("button", control.words, "button", { type: "button" });
    let now = [];
    button.addEventListener("click", () => turn(control.turn(...now)));
    return {
      elements: [make("p", button, "row")],
      show(state, numbers) { now = [state, numbers]; button.disabled = !(control.able?.(numbers, state) ?? true); },
    };
  },
  matrix: (control, id, turn, refuse) => cells(control, id, turn, refuse, value => value, value => value, text => matrixOf(control.words, text, control)),
  vector: (control, id, turn, refuse) => cells(control, id, turn, refuse, value => [value], rows => rows[0], text => vectorOf(control.words, text, control)),
};

// A grid of cells, whose rows can be added and taken away where the card says so, with the whole as text below it
function cells(control, id, turn, refuse, rowsOf, valueOf, read) {
  const grid = make("div", "", "cells"), area = make("textarea", "", "", { rows: 3, spellcheck: "false", "aria-label": `${control.words}, as text` });
  const box = make("fieldset", [make("legend", formula(control.words)), grid], "field"), buttons = make("p", "", "row");
  const grows = control.kind === "matrix" && control.most > control.least;
  let rows = [], state;
  const change = (i, j, value) => turn({ [control.name]: valueOf(rows.map((row, a) => row.map((old, b) => a === i && b === j ? value : old))) });
  const nameOf = (i, j) => control.kind === "vector" ? `${control.words}, ${control.columns ?? "number"} ${j}` : `${control.words}, row ${i}, column ${j}`;

  function cell(i, j) {
    const input = make("input", "", "", { type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-label": nameOf(i, j) });
    const attempt = told => {
      try {
        const value = numberOf(nameOf(i, j), input.value);
        if (value !== rows[i][j] || input.ariaInvalid) change(i, j, value);
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        if (told) { input.setAttribute("aria-invalid", "true"); refuse(error.message); }
      }
    };
    input.addEventListener("input", () => attempt(false)); // what is half written is not wrong yet
    input.addEventListener("change", () => attempt(true));
    input.addEventListener("keydown", event => {
      const step = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key] * (event.shiftKey ? 10 : 1);
      if (!step) return;
      event.preventDefault();
      change(i, j, Math.round((rows[i][j] + step) * 1000) / 1000);
    });
    return input;
  }
  function resize(count) {
    const given = rows.length < count ? [...rows, rows[0].map(() => 0)] : rows.slice(0, count), part = { [control.name]: given };
    for (const name of control.follows ?? []) part[name] = given.map((_, i) => state[name][i] ?? (Array.isArray(state[name][0]) ? state[name][0].map(() => 0) : 0));
    turn(part);
  }
  if (grows) {
    for (const [words, by] of [[`Add a ${control.row}`, 1], [`Take the last ${control.row} away`, -1]]) {
      const button = make("button", words, "button small", { type: "button" });
      button.addEventListener("click", () => resize(rows.length + by));
      button.dataset.by = by;
      buttons.append(button);
    }
    box.append(buttons);
  }
  area.addEventListener("change", () => {
    try {
      const value = read(area.value), part = { [control.name]: value };
      for (const name of control.follows ?? []) part[name] = value.map((_, i) => state[name][i] ?? 0);
      turn(part);
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      area.setAttribute("aria-invalid", "true");
      refuse(error.message);
    }
  });
  box.append(make("details", [make("summary", "As text"), area]));
  return {
    elements: [box],
    show(now) {
      state = now;
      rows = rowsOf(now[control.name]);
      const count = rows.length * rows[0].length;
      if (grid.childElementCount !== count || grid.dataset.columns !== String(rows[0].length)) grid.replaceChildren(...rows.flatMap((row, i) => row.map((_, j) => cell(i, j))));
      grid.dataset.columns = rows[0].length;
      rows.flat().forEach((value, at) => {
        const input = grid.children[at], text = String(Number(value.toPrecision(6))).replace("-", "−");
        if (input.ariaInvalid) input.removeAttribute("aria-invalid");
        if (input.value !== text && (document.activeElement !== input || Number(input.value.replace("−", "-")) !== value)) input.value = text;
      });
      area.removeAttribute("aria-invalid");
      if (document.activeElement !== area) area.value = rows.map(row => row.map(x => Number(x.toPrecision(6))).join(" ")).join("\n");
      for (const button of buttons.children) button.disabled = button.dataset.by === "1" ? rows.length >= control.most : rows.length <= control.least;
    },
  };
}

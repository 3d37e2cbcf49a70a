// Curves of several runs as figures of a report: the frame is made here, all else is done by the script of every page.
import { known } from "./asking.js";

const SERIES = 6, BESIDE = 8;
const made = new Map();
const make = (name, content = "", css = "") => {
  const element = document.createElement(name);
  element.textContent = content;
  if (css) element.className = css;
  return element;
};
const TITLES = { "train/loss": "Training loss", "validation/loss": "Validation loss" };
const UNITS = {
  loss: "nats", learning_rate: "learning rate", gradient_norm: "norm before clipping", tokens_per_second: "tokens a second", memory_bytes: "bytes",
  token_perplexity: "per predicted token", word_perplexity: "per word of the text", bits_per_byte: "bits per byte", accuracy: "share",
};

export const seriesOf = place => ({ kind: `s${1 + (place % SERIES)}`, dash: `d${Math.floor(place / SERIES) % 4}` });

// names without the folders that all share
function shorten(names) {
  const parts = names.map(name => name.split("/"));
  let same = 0;
  while (parts.every(each => each.length > same + 1 && each[same] === parts[0][same])) same++;
  return parts.map(each => each.slice(same).join("/"));
}
function axisOf(axis, top) {
  if (axis === 1) {
    const [size, name] = [[1e9, "thousand million "], [1e6, "million "], [1e3, "thousand "]].find(([size]) => top >= size) || [1, ""];
    return [1 / size, name ? `training tokens (${name.trim()})` : "training tokens"];
  }
  if (axis === 2) {
    const [size, name] = top >= 7200 ? [3600, "h"] : top >= 120 ? [60, "min"] : [1, "s"];
    return [1 / size, `wall clock of training (${name})`];
  }
  return [1, "step"];
}

export function drawCurves(home, chosen, state, best, kinds) {
  const wanted = ["train/loss", "validation/loss", state.third].filter(name => name && chosen.some(run => known.curves.get(run)?.get(name)?.length));
  const look = JSON.stringify([chosen, wanted, state.axis]);
  if (home.dataset.look !== look) {
    home.dataset.look = look;
    made.clear();
    home.replaceChildren();
  }
  for (const name of wanted) {
    const runs = chosen.filter(run => known.curves.get(run)?.get(name)?.length);
    const top = Math.max(...runs.map(run => known.curves.get(run).get(name).at(-1)[state.axis]));
    const [factor, label] = axisOf(state.axis, top);
    const token = JSON.stringify([runs, label]);
    if (made.get(name)?.token !== token) {
      const old = made.get(name)?.figure, fresh = frame(name, runs, chosen, label, wanted.length === 1 || wanted.indexOf(name) === 2);
      if (old) old.replaceWith(fresh.figure);
      else home.append(fresh.figure);
      fill(fresh.lines, runs, name, state.axis, factor);
      fresh.plane = heed.plane(fresh.figure, fresh.lines);
      made.set(name, { ...fresh, token });
    }
    const one = made.get(name), states = JSON.stringify(runs.map(run => known.states[run][name]));
    one.title.textContent = best[name] ? `${TITLES[name] || title(name)}: ${best[name]}` : `${TITLES[name] || title(name)}${name.startsWith("validation/") && kinds > 1 ? ", not measured alike" : ""}`;
    if (one.states === states) continue;
    one.states = states;
    fill(one.lines, runs, name, state.axis, factor);
    one.rows(runs, name);
    one.plane.draw(0, top * factor);
  }
  for (const [name, one] of made) if (!wanted.includes(name)) { one.figure.remove(); made.delete(name); }
}
const title = name => name.replace("/", ": ").replaceAll("_", " ");

function fill(lines, runs, name, axis, factor) {
  runs.forEach((run, n) => {
    lines[n].points = known.curves.get(run).get(name).map(([step, tokens, seconds, ...values]) => [[step, tokens, seconds][axis] * factor, ...values]);
  });
}
// a figure as heed.report.drawing makes it, with nothing drawn yet
function frame(name, runs, chosen, label, large) {
  const figure = make("figure", "", `lines${large ? " large" : ""}`), heading = make("h3"), plot = make("div", "", "plot");
  plot.dataset.view = "0 1 0 1";
  const unit = UNITS[name.split("/")[1]] || name;
  plot.append(make("p", unit, "unit"));
  plot.insertAdjacentHTML("beforeend", `<svg class="t4" height="320" role="img"><g class="ticks"></g><svg class="marks" viewBox="0 0 10000 10000" preserveAspectRatio="none"></svg></svg>`);
  plot.querySelector("svg").setAttribute("aria-label", title(name));
  const names = make("ul", "", `names${runs.length > BESIDE ? " above" : ""}`), short = shorten(runs), last = [];
  const lines = runs.map((run, n) => {
    const { kind, dash } = seriesOf(chosen.indexOf(run)), item = make("li", "", kind), span = make("span"), value = make("b");
    item.title = run;
    item.insertAdjacentHTML("beforeend", `<svg class="key" width="20" height="10"><path class="line ${kind} ${dash}" d="M2 5h16"/></svg>`);
    const text = short[n].length > 24 ? `${short[n].slice(0, 11)}…${short[n].slice(-12)}` : short[n];
    span.append(runs.length > 1 ? `${text} ` : "", value);
    item.append(span);
    names.append(item);
    last.push(value);
    return { name: short[n], kind, dash, dots: name.startsWith("validation/"), noisy: name.startsWith("train/"), alone: false, open: false, shown: true, said: null, ring: [], points: [] };
  });
  plot.append(names, make("p", label, "unit x"));
  const details = make("details", "", "values"), scroll = make("div", "", "scroll"), table = make("table"), head = make("thead"), top = make("tr"), body = make("tbody");
  top.append(...[label, unit, "run"].map(text => make("th", text)));
  head.append(top);
  table.append(head, body);
  scroll.append(table);
  Object.assign(scroll, { tabIndex: 0 });
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", `Last values: ${title(name)}`);
  details.append(make("summary", "Last values"), scroll);
  figure.append(heading, plot, make("figcaption", "Where a curve has more points than are drawn, the line is their mean and the band goes from the lowest to the highest."), details);
  const rows = () => {
    body.replaceChildren(...lines.map((line, n) => {
      const row = make("tr"), [x, y] = line.points.at(-1) || [], name = make("th", runs[n]);
      name.scope = "row";
      last[n].textContent = y === undefined ? "" : heed.short(y);
      row.append(...[x, y].map(value => make("td", value === undefined ? "" : heed.short(value))), name);
      return row;
    }));
  };
  return { figure, title: heading, lines, rows, plane: null, states: "" };
}

// Figures as SVG, drawn from data for the width that there is; words keep their size, and what can be dragged is a handle.
// A handle gives, for a place of the pointer in pixels, the part of a card's state that follows from it.
import { pieces, said } from "./words.js";

const NAMES = "http://www.w3.org/2000/svg";
function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(NAMES, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function text(x, y, words, css = "") {
  const parts = pieces(words).map(([part, level]) => level ? element("tspan", { dy: level === "sub" ? 3 : -4, class: "small" }, part) : part);
  return element("text", { x: x.toFixed(1), y: y.toFixed(1), class: css }, ...parts);
}
const line = ([x1, y1], [x2, y2], css) => element("line", { x1: x1.toFixed(2), y1: y1.toFixed(2), x2: x2.toFixed(2), y2: y2.toFixed(2), class: css });
const brief = value => said(Math.abs(value) < 1 ? Math.round(1000 * value) / 1000 : Number(value.toPrecision(3)));
const tidy = value => Math.round(value * 100) / 100;

// An image with its handles: {svg, handles: [[x, y] => part of the state]}
export function drawn(figure, width) {
  const handles = [], grip = (shape, move) => {
    if (!move) return shape;
    shape.dataset.handle = handles.push(move) - 1;
    shape.classList.add("grip");
    return shape;
  };
  const { height, parts } = { plane, lines, bars, heat }[figure.kind](figure, width, grip);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": figure.title }, ...parts);
  return { svg, handles };
}

// ------------------------------------------------------------------ points of a plane, with their hull
function plane({ reach, polygon = [], segments = [], points = [], arrows = [], crosses = [], level, circle }, width, grip) {
  const side = Math.min(width, 440), left = 0, half = side / 2;
  const at = ([x, y]) => [left + half + x / reach * half, half - y / reach * half];
  const from = ([x, y]) => [tidy((x - left - half) / half * reach), tidy((half - y) / half * reach)];
  const parts = [line(at([-reach, 0]), at([reach, 0]), "floor"), line(at([0, -reach]), at([0, reach]), "floor")];
  if (circle) parts.push(element("circle", { cx: at([0, 0])[0], cy: half, r: circle / reach * half, class: "thin" }));
  if (polygon.length > 2) parts.push(element("polygon", { points: polygon.map(p => at(p).map(v => v.toFixed(1)).join()).join(" "), class: "hull" }));
  if (level) {
    // all places with the score of `level.at`: a line at right angles to `level.across`
    const [dx, dy] = level.across, size = Math.hypot(dx, dy), along = [-dy / size, dx / size];
    const ends = [-1, 1].map(sign => inside(level.at, along.map(v => v * sign), reach));
    parts.push(line(at(ends[0]), at(ends[1]), "level"));
  }
  for (const { from: a, to: b, css, note } of segments) {
    parts.push(line(at(a), at(b), `segment ${css}`));
    if (note) { const [x, y] = at([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]); parts.push(text(x + 6, y - 4, brief(note), "note")); }
  }
  for (const { to, name, css, move, dashed } of arrows) {
    const [x, y] = at(to), [x0, y0] = at([0, 0]), length = Math.hypot(x - x0, y - y0);
    parts.push(line([x0, y0], [x, y], `arrow ${css}${dashed ? " dashed" : ""}`));
    if (length > 8) {
      const [ux, uy] = [(x - x0) / length, (y - y0) / length], corner = side => `${(x - 11 * ux - side * 5 * uy).toFixed(1)},${(y - 11 * uy + side * 5 * ux).toFixed(1)}`;
      parts.push(element("polygon", { points: `${x.toFixed(1)},${y.toFixed(1)} ${corner(1)} ${corner(-1)}`, class: `head ${css}` }));
    }
    const [nx, ny] = length > 8 ? [(y - y0) / length, (x0 - x) / length] : [0.7, -0.7]; // to the right of the shaft
    parts.push(text(x0 + 0.66 * (x - x0) + 14 * nx, y0 + 0.66 * (y - y0) + 14 * ny + 4, name, `label middle ${css}`));
    if (move) parts.push(grip(element("circle", { cx: x, cy: y, r: 20, class: "touch" }), place => move(from(place))));
  }
  for (const { at: place } of crosses) {
    const [x, y] = at(place);
    parts.push(line([x - 6, y - 6], [x + 6, y + 6], "cross"), line([x - 6, y + 6], [x + 6, y - 6], "cross"));
  }
  for (const { at: place, name, weight, ring, note, css = "s1", move } of points) {
    const [x, y] = at(place), r = 4 + 12 * Math.sqrt(weight);
    if (ring > 0) parts.push(element("circle", { cx: x, cy: y, r: 4 + 12 * Math.sqrt(ring), class: "ring" }));
    parts.push(element("circle", { cx: x, cy: y, r, class: `point ${css}` }));
    const free = Math.max(r, ring > 0 ? 4 + 12 * Math.sqrt(ring) : 0) + 4, [ox, oy] = at([0, 0]);
    if (circle) parts.push(text(x + 18 * (x - ox) / half * reach, y + 18 * (y - oy) / half * reach + 4, name, "label middle"));
    else for (const [words, css, dy] of [[name, "label", -5], ...(note === undefined ? [] : [[brief(note), "note", 9]])]) {
      parts.push(x > side - 44 ? text(x - free, y + dy, words, `${css} end`) : text(x + free, y + dy, words, css));
    }
    if (move) parts.push(grip(element("circle", { cx: x, cy: y, r: 20, class: "touch" }), pixel => move(from(pixel))));
  }
  return { height: side, parts };
}

// From a place in a direction until the edge of the figure
function inside([x, y], [dx, dy], reach) {
  const room = [[x, dx], [y, dy]].map(([p, d]) => Math.abs(d) < 1e-12 ? Infinity : ((d > 0 ? reach : -reach) - p) / d), far = Math.max(0, Math.min(...room));
  return [x + far * dx, y + far * dy];
}

// ------------------------------------------------------------------ curves, with a line that can be dragged along x
function lines({ x, y, series, rule, marker, area, grips = [] }, width, grip) {
  const narrow = width < 480, top = narrow ? 16 * series.length + 30 : 24, left = 46, right = narrow ? 16 : 128;
  const height = top + 230 + 40, w = width - left - right, h = 230;
  const scale = axis => axis.log ? Math.log10 : value => value, place = (axis, value) => (scale(axis)(value) - scale(axis)(axis.low)) / (scale(axis)(axis.high) - scale(axis)(axis.low));
  const clipped = value => Math.min(1.02, Math.max(-0.02, value));
  const px = value => left + w * place(x, value), py = value => top + h * (1 - clipped(place(y, value)));
  const parts = [text(0, narrow ? top - 10 : 10, y.words)];
  for (const tick of ticksOf(y)) parts.push(line([left, py(tick)], [left + w, py(tick)], "grid"), text(left - 6, py(tick) + 4, said(tick), "end"));
  for (const tick of ticksOf(x, narrow ? 4 : 6)) parts.push(line([px(tick), top + h], [px(tick), top + h + 5], "floor"), text(px(tick), top + h + 18, said(tick), "middle"));
  parts.push(line([left, top + h], [left + w, top + h], "floor"), text(left + w / 2, height - 4, x.words, "middle"));
  if (rule !== undefined) parts.push(line([left, py(rule)], [left + w, py(rule)], "rule"));
  if (area) parts.push(element("path", { d: `${path([[area[0][0], y.low], ...area, [area.at(-1)[0], y.low]].map(([a, b]) => [px(a), py(b)]))}Z`, class: "area" }));
  for (const { points, css, dashed } of series) parts.push(element("path", { d: path(points.filter(([, b]) => Number.isFinite(b)).map(([a, b]) => [px(a), py(b)])), class: `curve ${css}${dashed ? " dashed" : ""}` }));
  parts.push(...(narrow ? series.map(({ name, css, dashed }, i) => legend(0, 12 + 16 * i, name, css, dashed)) : endNames(series, left + w + 8, py)));
  if (marker) {
    const at = px(Math.min(x.high, Math.max(x.low, marker.x)));
    parts.push(line([at, top], [at, top + h], "marker"));
    (marker.values ?? []).forEach((value, i) => { if (Number.isFinite(value)) parts.push(element("circle", { cx: at, cy: py(value), r: 5, class: `point ${series[i].css}` })); });
    parts.push(element("circle", { cx: at, cy: top + h, r: 7, class: "knob-dot" }));
    const back = ([pixel]) => {
      const share = Math.min(1, Math.max(0, (pixel - left) / w)), to = scale(x)(x.low) + share * (scale(x)(x.high) - scale(x)(x.low));
      return marker.move(x.log ? 10 ** to : tidy(to));
    };
    parts.push(grip(element("rect", { x: at - 20, y: top - 6, width: 40, height: h + 26, class: "touch" }), back));
  }
  for (const { at: [a, b], css, move } of grips) {
    const back = ([, pixel]) => move(y.log ? 10 ** (Math.log10(y.low) + (1 - (pixel - top) / h) * Math.log10(y.high / y.low)) : y.low + (1 - (pixel - top) / h) * (y.high - y.low));
    parts.push(element("circle", { cx: px(a), cy: py(b), r: 7, class: `point ${css}` }), grip(element("circle", { cx: px(a), cy: py(b), r: 20, class: "touch" }), back));
  }
  return { height, parts };
}
const path = points => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
const legend = (x, y, name, css, dashed) => element("g", {}, line([x, y - 4], [x + 18, y - 4], `curve ${css}${dashed ? " dashed" : ""}`), text(x + 24, y, name, `label ${css}`));
function endNames(series, x, py) {
  const ends = series.map(({ name, css, points }) => ({ name, css, y: py(points.at(-1)[1]) })).sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => { if (i && end.y < ends[i - 1].y + 15) end.y = ends[i - 1].y + 15; });
  return ends.map(({ name, css, y }) => text(x, y + 4, name, `label ${css}`));
}
export function ticksOf({ low, high, log }, most = 5) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9), step = Math.max(1, Math.ceil((last - first) / most));
    return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => 10 ** (first + i * step));
  }
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// ------------------------------------------------------------------ strips of bars, one under the other
function bars({ groups, names }, width, grip) {
  const strip = 58, gap = 26, slot = width / names.length, thick = Math.min(46, slot * 0.62), parts = [];
  groups.forEach(({ name, low, high, bars: values }, at) => {
    const top = at * (strip + gap) + gap, share = value => Math.min(1, Math.max(0, (value - low) / (high - low)));
    const py = value => top + strip * (1 - share(value)), floor = py(Math.max(low, Math.min(high, 0)));
    parts.push(text(0, top - 10, name, "label"), line([0, floor], [width, floor], "floor"));
    values.forEach(({ value, css, move, hollow }, i) => {
      const x = slot * i + (slot - thick) / 2, y = py(value), upper = Math.min(y, floor), inside = value >= 0 ? upper - 4 : Math.max(y, floor) + 12;
      parts.push(element("rect", { x, y: upper, width: thick, height: Math.max(0.5, Math.abs(floor - y)), class: `bar ${css}${hollow ? " hollow" : ""}` }));
      parts.push(text(x + thick / 2, Math.max(top + 2, inside), brief(value), "middle note"));
      if (move) parts.push(grip(element("rect", { x: slot * i, y: top - 6, width: slot, height: strip + 12, class: "touch" }), ([, pixel]) => move(tidy(low + (high - low) * Math.min(1, Math.max(0, 1 - (pixel - top) / strip))))));
    });
  });
  const height = groups.length * (strip + gap) + 22;
  names.forEach((name, i) => parts.push(text(slot * (i + 0.5), height - 6, name, "middle")));
  return { height, parts };
}

// ------------------------------------------------------------------ matrices as shaded cells
function heat({ matrices }, width) {
  const columns = width < 520 ? 1 : Math.min(matrices.length, 3), room = (width - 20 * (columns - 1)) / columns, parts = [];
  let top = 0, next = 0;
  matrices.forEach(({ name, values, rows, columns: heads, digits = true }, at) => {
    const column = at % columns, left = column * (room + 20), side = rows ? 34 : 0;
    if (column === 0) top = next;
    const cell = Math.min((room - side) / values[0].length, digits ? 62 : 26), tall = digits ? Math.min(cell, 40) : cell, most = Math.max(1e-12, ...values.flat().map(Math.abs));
    parts.push(text(left, top + 14, name, "label"));
    const begin = top + (heads ? 40 : 24);
    heads?.forEach((word, j) => parts.push(text(left + side + cell * (j + 0.5), begin - 6, word, "middle")));
    values.forEach((row, i) => {
      if (rows) parts.push(text(left + side - 6, begin + tall * (i + 0.5) + 4, rows[i], "end"));
      row.forEach((value, j) => {
        const x = left + side + cell * j, y = begin + tall * i;
        parts.push(element("rect", { x, y, width: cell - 1, height: tall - 1, class: "cell" }));
        parts.push(element("rect", { x, y, width: cell - 1, height: tall - 1, class: `cell shade ${value < 0 ? "s2" : "s1"}`, "fill-opacity": (0.5 * Math.abs(value) / most).toFixed(3) }));
        if (digits) parts.push(text(x + cell / 2, y + tall / 2 + 4, brief(value), "middle strong"));
      });
    });
    next = Math.max(next, begin + tall * values.length + 16);
  });
  return { height: next, parts };
}

// ------------------------------------------------------------------ the numbers of a figure, as a table
export function tableOf(figure) {
  if (figure.kind === "lines") return { heads: [figure.x.words, ...figure.series.map(s => s.name)], rows: figure.series[0].points.map(([x], i) => [x, ...figure.series.map(s => s.points[i]?.[1])]) };
  if (figure.kind === "bars") return { heads: ["", ...figure.names], rows: figure.groups.map(g => [g.name, ...g.bars.map(b => b.value)]) };
  if (figure.kind === "heat") return { heads: [], rows: figure.matrices.flatMap(m => [[m.name], ...m.values.map((row, i) => [m.rows?.[i] ?? "", ...row])]) };
  return { heads: ["point", "x", "y", "weight"], rows: figure.points.map(p => [p.name, ...p.at, p.weight]) };
}

// ------------------------------------------------------------------ dragging
// The pointer moves what it took hold of, wherever it goes; the image under it is drawn anew meanwhile
export function dragging(image, moveOf, turn) {
  let move = null;
  const follow = event => {
    const box = image.firstChild.getBoundingClientRect();
    turn(move([event.clientX - box.left, event.clientY - box.top]));
  };
  image.addEventListener("pointerdown", event => {
    const grip = event.target.closest("[data-handle]");
    if (!grip || event.button) return;
    move = moveOf(grip.dataset.handle);
    image.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  image.addEventListener("pointermove", event => { if (move) follow(event); });
  for (const end of ["pointerup", "pointercancel"]) image.addEventListener(end, () => { move = null; });
}

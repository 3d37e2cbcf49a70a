// What a page can do beyond being read: values at a pointer or a key, lines that come and go, logarithms, smoothing,
// zoom, and tables that sort. It reads each figure's values from the table under it, and asks the network for nothing.
// Without it the page has the same pictures and tables. Positions are those of heed.report.drawing_plane.
"use strict";
(() => {
  const BOX = 10000, MARGIN = 0.06, GAP = 17, DOTS = 40;
  const make = (name, content = "", css = "") => {
    const element = document.createElement(name);
    element.textContent = content;
    if (css) element.className = css;
    return element;
  };
  const share = (value, low, high, log) => {
    if (log) [value, low, high] = [value, low, high].map(each => Math.log(Math.max(each, 1e-300)));
    return (value - low) / (high - low);
  };
  const back = (at, low, high, log) =>
    log ? Math.exp(Math.log(low) + at * (Math.log(high) - Math.log(low))) : low + at * (high - low);
  const percent = at => `${Math.round(1e4 * at) / 100}%`;

  // ------------------------------------------------------------------ numbers on axes, as in heed.report.ticks
  function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e6) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
    const text = value.toLocaleString("en", { maximumFractionDigits: Math.max(0, 3 - Math.floor(Math.log10(size))) });
    return text;
  }
  function evenTicks(low, high, most) {
    if (!(high > low)) return [low];
    const power = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = [1, 2, 2.5, 5, 10].map(each => each * power).find(each => (high - low) / each <= most);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n++) found.push(+(n * step).toFixed(12));
    return found;
  }
  function logTicks(low, high) {
    const found = [], digits = Math.log10(high / low) < 2.5 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const digit of digits) found.push(digit * 10 ** power);
    return found.filter(tick => tick >= low && tick <= high);
  }
  function spread(places, gap) {
    const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]), found = [...places];
    for (let k = 1; k < order.length; k++)
      found[order[k]] = Math.max(found[order[k]], found[order[k - 1]] + gap);
    const over = Math.max(0, ...found) - 1;
    if (over > 0) for (let k = order.length - 1, top = 1; k >= 0; k--, top -= gap)
      found[order[k]] = Math.min(found[order[k]], top);
    return found;
  }

  // ------------------------------------------------------------------ what a table holds
  function lineOf(body, words) {
    const css = body.classList, cells = row => [...row.querySelectorAll("td")].map(cell => cell.textContent);
    const rows = [...body.rows].map(cells).filter(each => each.length);
    const name = body.querySelector("th");
    const across = text => (words.length ? words.indexOf(text) : +text);
    return {
      name: name ? name.textContent : "", kind: [...css].find(each => /^s\d$/.test(each)),
      dash: [...css].find(each => /^d\d$/.test(each)), dots: css.contains("dots"), noisy: css.contains("noisy"),
      alone: css.contains("alone"), open: css.contains("open"), shown: true, said: rows,
      ring: (body.dataset.ring || "").split(" ").filter(Boolean).map(Number),
      points: rows.map(([x, ...rest]) => [across(x), ...rest.map(each => (each === "" ? NaN : +each))]),
    };
  }
  // of the points of a line, y: bias-corrected exponential mean that keeps a share of what went before
  function smoothed(points, keep) {
    let mean = 0, weight = 1;
    return points.map(([x, y, ...rest]) => {
      mean = keep * mean + (1 - keep) * y;
      weight *= keep;
      return [x, mean / (1 - weight), ...rest];
    });
  }

  // ------------------------------------------------------------------ what is said at a cursor
  function readout(home) {
    const box = make("div", "", "readout");
    box.setAttribute("role", "status");
    box.hidden = true;
    home.append(box);
    return {
      say(title, lines, right) {
        box.replaceChildren(make("strong", title), ...lines.map(([kind, text]) => make("span", text, kind)));
        box.classList.toggle("left", right);
        box.hidden = false;
      },
      hide() { box.hidden = true; },
    };
  }
  function keys(svg, label, moves, leave) {
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")}. ${label}`);
    svg.addEventListener("keydown", event => {
      const move = moves[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move();
    });
    svg.addEventListener("blur", leave);
  }

  // ------------------------------------------------------------------ lines and points
  // `live` are lines, as `lineOf` makes them, that a page holds itself and changes; what is returned draws them anew
  function plane(figure, live) {
    const plot = figure.querySelector(".plot"), svg = plot.querySelector(":scope > svg"), table = figure.querySelector("table");
    const marks = svg.querySelector(".marks"), ticks = svg.querySelector(".ticks"), fixed = figure.classList.contains("reliability");
    const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    const firsts = [...table.querySelectorAll("tbody td:first-child")].map(cell => cell.textContent);
    const words = !live && firsts.some(text => isNaN(text)) ? [...new Set(firsts)].sort() : [];
    const said = (line, n) => (line.said ? line.said[n] : line.points[n].map((value, k) => (k ? String(+value.toPrecision(6)) : short(value))));
    const lines = live || [...table.tBodies].map(body => lineOf(body, words));
    const [left, right, bottom, top] = plot.dataset.view.split(" ").map(Number);
    const first = { left, right, bottom, top, logX: "logX" in plot.dataset, logY: "logY" in plot.dataset };
    const state = { view: first, zoom: null, log: first.logY, keep: 0, at: null };
    const across = x => share(x, state.view.left, state.view.right, state.view.logX);
    const down = y => 1 - share(y, state.view.bottom, state.view.top, state.view.logY);
    const drawn = line => (line.noisy && state.keep ? smoothed(line.points, state.keep) : line.points);
    const visible = () => lines.filter(line => line.shown);
    const box = readout(plot);

    const hair = document.createElementNS("http://www.w3.org/2000/svg", "g");
    hair.classList.add("hair");
    svg.append(hair);

    // what stands at fixed values: rules with their names, words at points
    const kept = [...svg.querySelectorAll(".rules > *, .words > *")].map(element => {
      const at = name => { const text = element.getAttribute(name); return text && text.endsWith("%") ? parseFloat(text) / 100 : null; };
      const level = element.tagName === "line" ? element.getAttribute("y1") === element.getAttribute("y2") && at("y1") !== null
        : element.parentNode.classList.contains("words") || at("y") !== null;
      const upright = element.tagName === "line" ? at("x1") !== null && element.getAttribute("x1") === element.getAttribute("x2")
        : element.parentNode.classList.contains("words") || at("y") === null;
      return { element, x: upright ? back(at("x1") ?? at("x") ?? 0, left, right, first.logX) : null,
        y: level ? back(1 - (at("y1") ?? at("y") ?? 0), bottom, top, first.logY) : null };
    });

    function look() {
      const [from, to] = state.zoom || [first.left, first.right];
      const inside = visible().flatMap(line => drawn(line).filter(([x]) => x >= from && x <= to));
      const heights = inside.flatMap(([, ...values]) => values.slice(0, 3)).filter(Number.isFinite);
      if (!state.zoom) heights.push(...kept.filter(each => each.x === null && each.y !== null).map(each => each.y));
      let [low, high] = heights.length ? [Math.min(...heights), Math.max(...heights)] : [first.bottom, first.top];
      const log = state.log && low > 0;
      if (log) {
        const margin = high > low ? (high / low) ** MARGIN : 1.5;
        [low, high] = [low / margin, high * margin];
      } else {
        const margin = MARGIN * (high - low) || 0.05 * Math.abs(high) || 1;
        [low, high] = ["zero" in plot.dataset && !state.zoom ? 0 : low - margin, high + margin];
      }
      state.view = { left: from, right: to, bottom: low, top: high, logX: first.logX, logY: log };
    }
    function path(points) {
      return points.filter(([x, y]) => Number.isFinite(y))
        .map(([x, y], i) => `${i ? "L" : "M"}${Math.round(BOX * across(x))} ${Math.round(BOX * Math.min(Math.max(down(y), -9), 9))}`).join("");
    }
    function shapes(line) {
      const points = drawn(line), kind = line.kind, found = [], dot = points.map(point => `${path([point])}h0`).join("");
      if (points.length && Number.isFinite(points[0][2])) {
        const edge = [...points.map(([x, , , high]) => [x, high]), ...[...points].reverse().map(([x, , low]) => [x, low])];
        found.push(`<path class="band ${kind}" d="${path(edge)}z"/>`);
      }
      if (!line.alone && points.length > 1) found.push(`<path class="line ${kind} ${line.dash}" d="${path(points)}"/>`);
      if ((line.dots && points.length <= DOTS) || points.length === 1 || line.alone)
        found.push(`<path class="dots ${kind}${line.alone ? " large" : ""}" d="${dot}"/>`, line.open ? `<path class="dots hole" d="${dot}"/>` : "");
      if (line.ring.length)
        found.push(...["dots ring " + kind, "dots ring hole"].map(css => `<path class="${css}" d="${path([line.ring])}h0"/>`));
      return `<g>${found.join("")}</g>`;
    }
    function draw() {
      look();
      const view = state.view, log = view.logY ? logTicks(view.bottom, view.top) : [];
      const up = log.length >= 3 ? log : evenTicks(view.bottom, view.top, 6);
      let level = words.length ? words.map((_, n) => n) : view.logX ? logTicks(view.left, view.right) : [];
      if (level.length < 2) level = evenTicks(view.left, view.right, 4);
      ticks.innerHTML = up.map(tick => {
        const y = percent(down(tick));
        return `<line x2="100%" y1="${y}" y2="${y}"/><text class="y" x="-8" y="${y}" dy=".35em">${short(tick)}</text>`;
      }).join("") + '<line class="floor" x2="100%" y1="100%" y2="100%"/>'
        + level.map(tick => `<text x="${percent(across(tick))}" y="100%" dy="1.5em"></text>`).join("");
      level.forEach((tick, n) => { ticks.querySelectorAll("text:not(.y)")[n].textContent = words[tick] || short(tick); });
      svg.setAttribute("class", `t${Math.min(12, Math.max(...up.map(tick => short(tick).length)))}${state.zoom ? " zoomed" : ""}`);
      marks.innerHTML = visible().map(shapes).join("");
      for (const { element, x, y } of kept) {
        const places = [x === null ? 0.5 : across(x), y === null ? 0.5 : down(y)];
        element.classList.toggle("gone", places.some(place => place < -0.001 || place > 1.001));
        for (const name of ["x", "x1", "x2"]) if (x !== null && element.hasAttribute(name)) element.setAttribute(name, percent(places[0]));
        for (const name of ["y", "y1", "y2"]) if (y !== null && element.hasAttribute(name)) element.setAttribute(name, percent(places[1]));
      }
      const named = lines.filter(line => line.item && line.points.length), height = svg.getBoundingClientRect().height || 320;
      const ends = spread(named.map(line => Math.min(1, Math.max(0, down(drawn(line).at(-1)[1])))), GAP / height);
      named.forEach((line, n) => { line.item.style.gridRow = 1 + Math.round(99 * ends[n]); });
      show(state.at);
      reset.disabled = !state.zoom;
    }

    // the cursor stands at an x; each line says its point that is nearest
    function show(at) {
      state.at = at;
      const view = state.view, shown = visible().filter(line => line.points.length);
      if (at === null || !shown.length || share(at, view.left, view.right, view.logX) < -1e-9 || share(at, view.left, view.right, view.logX) > 1 + 1e-9) {
        hair.innerHTML = "";
        box.hide();
        return;
      }
      const nearest = shown.map(line => {
        const gaps = line.points.map(([x]) => Math.abs(across(x) - across(at)));
        return [line, gaps.indexOf(Math.min(...gaps))];
      });
      const place = percent(across(at));
      hair.innerHTML = `<line x1="${place}" x2="${place}" y2="100%"/>` + nearest.map(([line, n]) => {
        const [x, y] = drawn(line)[n];
        return `<circle class="${line.kind}" cx="${percent(across(x))}" cy="${percent(down(y))}" r="4"/>`;
      }).join("");
      const main = nearest.map(([line, n]) => [line.points[n][0], said(line, n)[0]]).sort((a, b) => Math.abs(across(a[0]) - across(at)) - Math.abs(across(b[0]) - across(at)))[0];
      box.say(words.length ? main[1] : `${heads[0]} ${main[1]}`, nearest.map(([line, n]) => {
        const [x, y, low, high] = said(line, n);
        let text = `${line.name || heads[1]}: ${y}`;
        if (low) text += ` (${low} to ${high})`;
        if (line.noisy && state.keep) text += `, smoothed ${drawn(line)[n][1].toPrecision(4)}`;
        return [line.kind, x === main[1] ? text : `${text} at ${x}`];
      }), across(at) > 0.5);
    }
    const places = () => [...new Set(visible().flatMap(line => line.points.map(([x]) => x)))]
      .filter(x => x >= state.view.left && x <= state.view.right).sort((a, b) => a - b);
    function step(by) {
      const all = places(), now = all.indexOf(state.at);
      if (all.length) show(all[Math.min(all.length - 1, Math.max(0, state.at === null || now < 0 ? (by > 0 ? 0 : all.length - 1) : now + by))]);
    }
    function zoom(from, to) {
      state.zoom = from === undefined ? null : [Math.max(first.left, Math.min(from, to)), Math.min(first.right, Math.max(from, to))];
      draw();
    }
    function closer(factor) {
      if (fixed || words.length) return;
      const view = state.view, middle = state.at === null ? 0.5 : across(state.at);
      const [from, to] = [middle - middle * factor, middle + (1 - middle) * factor].map(at => back(at, view.left, view.right, view.logX));
      zoom(...(factor > 1 && from <= first.left && to >= first.right ? [] : [from, to]));
    }
    keys(svg, "Arrow keys move through the values, plus and minus zoom", {
      ArrowRight: () => step(1), ArrowLeft: () => step(-1), PageDown: () => step(10), PageUp: () => step(-10),
      Home: () => show(places()[0] ?? null), End: () => show(places().at(-1) ?? null), "+": () => closer(0.5), "-": () => closer(2), "0": () => zoom(), Escape: () => { show(null); zoom(); },
    }, () => show(null));

    const under = event => { const area = svg.getBoundingClientRect(); return Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)); };
    const valueAt = at => back(at, state.view.left, state.view.right, state.view.logX);
    let held = null;
    svg.addEventListener("pointerdown", event => { if (!fixed && !words.length && event.button === 0) held = under(event); });
    svg.addEventListener("pointermove", event => {
      const at = under(event), all = places();
      if (all.length) show(all.reduce((best, x) => (Math.abs(across(x) - at) < Math.abs(across(best) - at) ? x : best)));
      if (held !== null && Math.abs(at - held) > 0.02)
        hair.insertAdjacentHTML("afterbegin", `<rect x="${percent(Math.min(held, at))}" width="${percent(Math.abs(at - held))}" height="100%"/>`);
    });
    addEventListener("pointerup", event => {
      if (held === null) return;
      const [from, to] = [held, under(event)];
      held = null;
      if (Math.abs(to - from) > 0.02) zoom(valueAt(from), valueAt(to));
    });
    svg.addEventListener("pointerleave", () => { if (held === null && document.activeElement !== svg) show(null); });
    svg.addEventListener("dblclick", () => zoom());

    // ---------------------------------------------------------------- controls
    const tools = make("div", "", "tools"), reset = make("button", "reset zoom");
    const button = (label, act) => { const made = make("button", label); made.type = "button"; made.addEventListener("click", () => act(made)); tools.append(made); return made; };
    reset.type = "button";
    reset.disabled = true;
    reset.addEventListener("click", () => zoom());
    if (!fixed) {
      if (lines.every(line => line.points.every(([, y]) => y > 0))) button("log", made => {
        state.log = !state.log;
        made.setAttribute("aria-pressed", String(state.log));
        draw();
      }).setAttribute("aria-pressed", String(state.log));
      if (lines.some(line => line.noisy && (live || line.points.length > 8))) {
        const label = make("label", "smooth "), range = make("input");
        Object.assign(range, { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
        range.addEventListener("input", () => { state.keep = +range.value; draw(); });
        label.append(range);
        tools.append(label);
      }
      if (!words.length) tools.append(reset);
      plot.before(tools);
    }
    const items = [...plot.querySelectorAll(".names > li")];
    lines.filter(line => line.name).forEach((line, n) => {
      const item = (line.item = items[n]), span = item.querySelector("span"), made = make("button");
      made.type = "button";
      made.append(...item.childNodes);
      made.setAttribute("aria-pressed", "true");
      item.append(made);
      made.addEventListener("click", () => {
        if (line.shown && visible().filter(each => each.name).length < 2) return;
        line.shown = !line.shown;
        made.setAttribute("aria-pressed", String(line.shown));
        draw();
      });
    });
    return {
      draw(from, to) {
        Object.assign(first, { left: from, right: to > from ? to : from + 1 });
        draw();
      },
    };
  }

  // ------------------------------------------------------------------ rows
  function rows(figure) {
    const plot = figure.querySelector(".rows"), svg = plot.querySelector("svg"), table = figure.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    const said = [...table.querySelectorAll("tbody tr")].map(row => [...row.cells].map(cell => cell.textContent));
    const labels = [...plot.querySelectorAll(".labels li")];
    let next = 0;
    const values = labels.map(label => (label.className === "muted" ? null : said[next++]));
    const box = readout(plot);
    let at = -1;
    function show(n) {
      at = n;
      const row = values[n];
      if (!row) { box.hide(); return; }
      const lines = [[labels[n].className, `${heads[1]}: ${row[1]}${heads[2] === "from" && row[2] ? ` (${row[2]} to ${row[3]})` : ""}`]];
      const more = heads.map((head, k) => [head, row[k]]).filter(([head, text], k) => k > 1 && text && head !== "from" && head !== "to");
      if (more.length) lines.push(["", more.map(([head, text]) => `${head}: ${text}`).join(", ")]);
      box.say(row[0], lines, true);
    }
    const step = by => { const n = Math.min(values.length - 1, Math.max(0, at + by)); show(n); };
    keys(svg, "Arrow keys move through the rows", { ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => show(0), End: () => show(values.length - 1), Escape: () => show(-1) }, () => show(-1));
    svg.addEventListener("pointermove", event => {
      const area = svg.getBoundingClientRect();
      show(Math.min(values.length - 1, Math.max(0, Math.floor((event.clientY - area.top) / area.height * values.length))));
    });
    svg.addEventListener("pointerleave", () => { if (document.activeElement !== svg) show(-1); });
  }

  // ------------------------------------------------------------------ tables that sort
  const UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40,
    "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 86400 };
  // the number that a cell begins with, in its unit; words have none, and come last
  function amount(text) {
    const found = [...text.replaceAll("−", "-").replaceAll(",", "").matchAll(/([-+]?\d+(?:\.\d+)?(?:e-?\d+)?)\s*([A-Za-zµ]+)?/g)];
    if (!found.length || !/^[-+(<>p≥ ]*\d/.test(text.replaceAll("−", "-"))) return NaN;
    const first = +found[0][1] * (UNITS[found[0][2]] || 1);
    return /^\d+ (min|h|d) \d+ (s|min|h)$/.test(text) ? first + +found[1][1] * UNITS[found[1][2]] : first;
  }
  function sortable(table) {
    const body = table.tBodies[0];
    if (!table.tHead || !body || body.rows.length < 3) return;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const keyed = [...body.rows].map(row => [row.cells[column].textContent, row]).map(([text, row]) => [amount(text), text, row]);
        const words = keyed.every(([value]) => isNaN(value));
        keyed.sort(([a, s], [b, t]) => {
          if (words) return (up ? 1 : -1) * s.localeCompare(t, "en", { numeric: true });
          return isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : (up ? 1 : -1) * (a - b);
        });
        body.append(...keyed.map(([, , row]) => row));
      });
    });
  }

  document.querySelectorAll("figure.lines, figure.points, figure.reliability").forEach(figure => plane(figure));
  document.querySelectorAll("figure.bars, figure.intervals").forEach(rows);
  document.querySelectorAll("table.results").forEach(sortable);
  document.documentElement.classList.add("live");
  globalThis.heed = { plane, short };
})();

// One map of attention in full: chosen among the small ones, read by pointer or keys, beside the text itself; or its
// weights as lines from the tokens that look to those that are looked at.
// A picture holds round(255 sqrt(weight)); a weight read back from it is known to about 0.004 of its square root.
"use strict";
(() => {
  const LEVELS = [0.01, 0.05, 0.2, 0.5], SAID = 4, LEAST = 0.0005, DRAWN = 0.02, MANY = 128;
  const make = (name, css = "", content = "") => {
    const element = document.createElement(name);
    if (css) element.className = css;
    element.textContent = content;
    return element;
  };
  const plain = text => text.replace(/\n/g, "\\n").replace(/\t/g, "\\t"), quoted = text => `“${plain(text)}”`;
  const percent = a => (a < LEAST ? "0 %" : a < 0.0995 ? `${(100 * a).toFixed(1)} %` : `${Math.round(100 * a)} %`);
  const colour = text => {
    const pen = make("canvas").getContext("2d", { willReadFrequently: true });
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    return pen.getImageData(0, 0, 1, 1).data;
  };

  function laboratory(home) {
    const data = JSON.parse(home.querySelector("script").textContent), { tokens, causal, full, gate } = data, T = tokens.length;
    const cells = [...home.querySelectorAll("[data-head]")], state = { name: "", bytes: null, t: T - 1, s: -1, turn: 0 };

    // ---------------------------------------------------------------- the plate, and the text beside it
    const map = make("div", "map"), left = make("div"), right = make("div");
    const title = make("h3"), plate = make("div", "plate"), canvas = make("canvas");
    const across = make("div", "across"), down = make("div", "down"), said = make("p", "said");
    const head = make("h3", "", "The text"), text = make("div", "text");
    canvas.width = canvas.height = T;
    said.setAttribute("role", "status");
    plate.tabIndex = 0;
    plate.setAttribute("role", "application");
    text.tabIndex = 0;
    text.setAttribute("role", "application");
    text.setAttribute("aria-label", "The text: choose the token that looks by the left and right arrow keys");
    const spans = tokens.map(token => make("span", "", token));
    const levels = new Uint8Array(T);
    text.append(...spans);
    plate.append(canvas, across, down);

    // ---------------------------------------------------------------- the same as lines between two columns of tokens
    const SVG = "http://www.w3.org/2000/svg", lines = make("div", "ties"), unit = make("p", "unit"), views = make("p", "views");
    const drawing = document.createElementNS(SVG, "svg"), [all, own] = [0, 0].map(() => document.createElementNS(SVG, "g"));
    const columns = [0, 0].map(() => {
      const column = make("div");
      column.append(...tokens.map(token => make("span", "", plain(token).replace(/^ +$/, blank => "␣".repeat(blank.length)))));
      return column;
    });
    own.setAttribute("class", "own");
    drawing.append(all, own);
    for (const [key, value] of Object.entries({ viewBox: `0 0 100 ${T}`, preserveAspectRatio: "none", "aria-hidden": "true" })) drawing.setAttribute(key, value);
    lines.append(columns[0], drawing, columns[1]);
    lines.tabIndex = 0;
    lines.setAttribute("role", "application");
    const buttons = [["Map", plate, "down: the token that looks; across: the token that is looked at"], ["Lines", lines, "left: the token that looks; right: the token that is looked at. Strength: the weight, from 2 %"]].map(([name, view, words]) => {
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => look(view, words));
      return [button, view];
    });
    views.append(...buttons.map(([button]) => button));
    function look(view, words) {
      for (const [button, other] of buttons) {
        button.setAttribute("aria-pressed", other === view);
        other.hidden = other !== view;
      }
      unit.textContent = words;
      if (!state.map) return;
      drawLines();
      show();
    }
    function linesOf(t) {
      const found = [];
      for (let s = 0; s <= (causal ? t : T - 1); s++) {
        const a = weight(t, s);
        if (!(a >= DRAWN)) continue;
        const line = document.createElementNS(SVG, "line");
        for (const [key, value] of Object.entries({ x1: 0, y1: t + 0.5, x2: 100, y2: s + 0.5, "stroke-opacity": a.toFixed(3) })) line.setAttribute(key, value);
        found.push(line);
      }
      return found;
    }
    const drawLines = () => all.replaceChildren(...lines.hidden || T > MANY ? [] : tokens.flatMap((_, t) => linesOf(t)));
    left.append(title, views, unit, plate, lines, said);
    const key = make("p", "key small", "The outlined token looks; shades are 1, 5, 20 and 50 % of its weight and more.");
    right.append(head, key, text, home.querySelector(".heads"), home.querySelector(":scope > .key"));
    map.append(left, right);
    home.prepend(map);

    // ---------------------------------------------------------------- a map as bytes
    const kept = new Map();
    async function bytesOf(name) {
      if (kept.has(name)) return kept.get(name);
      const picture = new Image();
      picture.src = full[name] || cells.find(cell => cell.dataset.head === name).querySelector("img").src;
      await picture.decode();
      const page = make("canvas");
      [page.width, page.height] = [picture.naturalWidth, picture.naturalHeight];
      const pen = page.getContext("2d", { willReadFrequently: true });
      pen.drawImage(picture, 0, 0);
      const pixels = pen.getImageData(0, 0, page.width, page.height).data, found = new Uint8Array(page.width * page.height);
      for (let i = 0; i < found.length; i++) found[i] = pixels[4 * i];
      const kind = { bytes: found, size: page.width, whole: page.width === T };
      if (kept.size > 8) kept.delete(kept.keys().next().value);
      kept.set(name, kind);
      return kind;
    }
    const weight = (t, s) => (state.map && state.map.whole ? (state.map.bytes[t * T + s] / 255) ** 2 : NaN);

    function paint() {
      const { bytes, size } = state.map, style = getComputedStyle(document.documentElement);
      const paper = colour(style.getPropertyValue("--surface")), ink = colour(style.getPropertyValue("--series-1"));
      canvas.width = canvas.height = size;
      const pen = canvas.getContext("2d"), image = pen.createImageData(size, size), shades = new Uint32Array(256);
      const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
      for (let v = 0; v < 256; v++) {
        const [r, g, b] = [0, 1, 2].map(i => Math.round(paper[i] + (ink[i] - paper[i]) * v / 255));
        shades[v] = little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255;
      }
      const out = new Uint32Array(image.data.buffer);
      for (let t = 0, i = 0; t < size; t++)
        for (let s = 0; s < size; s++, i++) out[i] = causal && s > t && !bytes[i] ? 0 : shades[bytes[i]];
      pen.putImageData(image, 0, 0);
    }

    // ---------------------------------------------------------------- what is said of a place
    function show() {
      const { t, s } = state, last = causal ? t : T - 1, row = [], high = plate.clientHeight, wide = plate.clientWidth;
      for (let k = 0; k < T; k++) {
        const a = k <= last ? weight(t, k) : 0, level = LEVELS.filter(bound => a >= bound).length;
        if (a > 0) row.push([a, k]);
        if (levels[k] !== level) {
          levels[k] = level;
          spans[k].className = level ? `look${level}` : "";
        }
      }
      if (state.here !== undefined) spans[state.here].classList.remove("here");
      spans[t].classList.add("here");
      if (state.here !== t && !text.matches(":hover")) {  // the text scrolls, the page does not
        const top = spans[t].offsetTop - text.offsetTop, room = text.clientHeight;
        if (top < text.scrollTop || top > text.scrollTop + room - 40) text.scrollTop = top - room / 2;
      }
      if (!lines.hidden) {
        own.replaceChildren(...linesOf(t));
        columns[0].children[state.here ?? t].classList.remove("here");
        const here = columns[0].children[t], top = here.offsetTop;
        here.classList.add("here");
        if (top < lines.scrollTop || top > lines.scrollTop + lines.clientHeight - 40) lines.scrollTop = top - lines.clientHeight / 2;
      }
      state.here = t;
      across.style.transform = `translateY(${(t + 0.5) / T * high}px)`;
      down.style.transform = `translateX(${(s + 0.5) / T * wide}px)`;
      down.hidden = s < 0;
      const who = make("strong", "", `${quoted(tokens[t])} (token ${t})`);
      if (!state.map.whole) {
        said.replaceChildren(who, ". This map is here in small only: there was no room. Its weights are in explore.npz.");
        return;
      }
      const best = row.filter(([a]) => a >= LEAST).sort((a, b) => b[0] - a[0]).slice(0, SAID);
      const most = best.map(([a, k]) => `${quoted(tokens[k])} (${k}) ${percent(a)}`).join(", ") || "nothing";
      const pair = s >= 0 && s <= last ? ` looks at ${quoted(tokens[s])} (token ${s}) with ${percent(weight(t, s))} of its weight. Most:` : " looks most at";
      const through = gate[state.name] ? ` Its gate lets ${percent(gate[state.name][t])} through.` : "";
      said.replaceChildren(who, `${pair} ${most}.${through}`);
    }
    let waiting = false;
    function later() {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; show(); });
    }
    function go(t, s) {
      state.t = Math.min(T - 1, Math.max(0, t));
      state.s = Math.min(causal ? state.t : T - 1, s);
      later();
    }

    async function choose(cell, focus) {
      const turn = ++state.turn, name = cell.dataset.head, found = await bytesOf(name);
      if (turn !== state.turn) return;
      state.map = found;
      state.name = name;
      for (const other of cells) {
        const button = other.firstElementChild, on = other === cell;
        button.setAttribute("aria-pressed", on);
        button.tabIndex = on ? 0 : -1;
        if (on && focus) button.focus();
      }
      const role = cell.querySelector("img").alt.split(": ")[1];
      title.textContent = `Head ${name}: ${role}`;
      plate.setAttribute("aria-label", `Map of head ${name}. Up and down choose the token that looks, left and right the one looked at`);
      lines.setAttribute("aria-label", `Lines of head ${name}. Up and down choose the token that looks`);
      paint();
      drawLines();
      show();
    }

    // ---------------------------------------------------------------- pointer and keys
    for (const cell of cells) {
      const button = make("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => choose(cell, false));
    }
    const width = Math.max(...[...home.querySelectorAll("tbody tr")].map(row => row.querySelectorAll("td").length));
    home.querySelector(".heads tbody").addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[event.key];
      const to = cells[cells.findIndex(cell => cell.dataset.head === state.name) + step];
      if (!step || !to || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      choose(to, true);
    });
    plate.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect();
      go(Math.floor((event.clientY - box.top) / box.height * T), Math.max(0, Math.floor((event.clientX - box.left) / box.width * T)));
    });
    const keyed = moves => event => {
      const move = moves[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move();
    };
    plate.addEventListener("keydown", keyed({
      ArrowUp: () => go(state.t - 1, state.s), ArrowDown: () => go(state.t + 1, state.s),
      ArrowLeft: () => go(state.t, Math.max(0, state.s - 1)), ArrowRight: () => go(state.t, state.s + 1),
      Home: () => go(0, state.s), End: () => go(T - 1, state.s),
    }));
    const walk = t => go(t, -1);
    lines.addEventListener("keydown", keyed({
      ArrowUp: () => walk(state.t - 1), ArrowDown: () => walk(state.t + 1), Home: () => walk(0), End: () => walk(T - 1),
    }));
    const chosen = event => {
      const at = [...columns[0].children].indexOf(event.target);
      if (at >= 0) walk(at);
    };
    lines.addEventListener("pointerover", chosen);
    lines.addEventListener("click", chosen);
    text.addEventListener("keydown", keyed({
      ArrowLeft: () => walk(state.t - 1), ArrowRight: () => walk(state.t + 1), Home: () => walk(0), End: () => walk(T - 1),
    }));
    text.addEventListener("click", event => {
      const at = spans.indexOf(event.target);
      if (at >= 0) go(at, -1);
    });
    text.addEventListener("pointerover", event => {
      const at = event.pointerType === "mouse" ? spans.indexOf(event.target) : -1;
      if (at >= 0) go(at, -1);
    });
    buttons[0][0].click();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); show(); });
    choose(cells.find(cell => cell.dataset.head === data.first) || cells[0], false);
  }

  document.querySelectorAll(".maps").forEach(laboratory);
})();

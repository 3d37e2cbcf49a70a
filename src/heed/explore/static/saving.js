// A figure or the numbers of a card as a file.
const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order", "font-family", "font-size", "font-weight", "text-anchor"];

// The image as text that needs no style sheet: what is computed for each element is written into it
function standalone(svg) {
  const copy = svg.cloneNode(true), [width, height] = [svg.clientWidth, svg.clientHeight];
  const [from, to] = [svg, copy].map(root => [...root.querySelectorAll("*")]);
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const name of STYLES) to[i].setAttribute(name, style.getPropertyValue(name));
    to[i].removeAttribute("class");
  });
  copy.querySelectorAll("[data-handle]").forEach(grip => grip.remove());
  const paper = document.createElementNS(svg.namespaceURI, "rect"), margin = 16;
  for (const [key, value] of Object.entries({ x: -margin, y: -margin, width: width + 2 * margin, height: height + 2 * margin, fill: getComputedStyle(document.documentElement).backgroundColor })) paper.setAttribute(key, value);
  copy.prepend(paper);
  copy.setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  copy.setAttribute("width", width + 2 * margin);
  copy.setAttribute("height", height + 2 * margin);
  return new XMLSerializer().serializeToString(copy);
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function save(svg, name, kind) {
  const text = standalone(svg);
  if (kind === "svg") { download(new Blob([text], { type: "image/svg+xml" }), `${name}.svg`); return; }
  const image = new Image(), canvas = document.createElement("canvas");
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  canvas.width = 2 * image.width;
  canvas.height = 2 * image.height;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(blob => download(blob, `${name}.png`), "image/png");
}

export const saveJSON = (content, name) => download(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }), `${name}.json`);

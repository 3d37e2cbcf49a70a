// Numbers as words, and words as numbers: what a person writes into a cell, a text or a link, and what is wrong with it.

// A sentence for the card; what was there before stays
export class Wrong extends Error {}

// Four digits at most, as heed says numbers everywhere: 0.04996, 1e-15, 1234
export function said(number) {
  if (!Number.isFinite(number)) return number > 0 ? "∞" : number < 0 ? "−∞" : "none";
  if (number === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(Number(number.toPrecision(4)))));
  const text = size < -5 || size >= 6 ? exponent(number) : String(Number(number.toPrecision(4)));
  return text.replace("-", "−");
}
function exponent(number) {
  const [digits, power] = number.toExponential(3).split("e");
  return `${Number(digits)}e${Number(power)}`.replaceAll("-", "−");
}

// Words with _ and ^ as their parts: [["w"], ["i", "sub"], [" = e"], ["s", "sup"]]
export const pieces = words => words.replaceAll(" - ", " − ").split(/([_^](?:\{[^}]*\}|[\p{L}\p{N}]{1,2}|\+))/u).filter(Boolean)
  .map(part => /^[_^]./.test(part) ? [part.slice(1).replace(/^\{|\}$/g, ""), part[0] === "_" ? "sub" : "sup"] : [part]);
export const vectorSaid = vector => `(${vector.map(said).join(", ")})`;
export function matrixSaid(matrix) {
  const cells = matrix.map(row => row.map(said)), width = Math.max(...cells.flat().map(cell => cell.length));
  return cells.map(row => row.map(cell => cell.padStart(width)).join("  ")).join("\n");
}
export const enumerated = places => places.length < 2 ? String(places[0]) : `${places.slice(0, -1).join(", ")} and ${places.at(-1)}`;

const LARGEST = 1e6;
export function numberOf(name, text) {
  const plain = String(text).trim().replace("−", "-");
  if (plain === "") throw new Wrong(`${name}: a cell is empty, every cell needs a number`);
  const number = Number(plain);
  if (/nan|inf/i.test(plain) || !Number.isFinite(number) && !Number.isNaN(number)) throw new Wrong(`${name}: holds NaN or infinity, every number must be finite`);
  if (Number.isNaN(number)) throw new Wrong(`${name}: “${plain.slice(0, 20)}” is not a number`);
  if (Math.abs(number) > LARGEST) throw new Wrong(`${name}: ${said(number)} is too large for a card, ${said(LARGEST)} at most`);
  return number;
}

// Rows at line ends or semicolons, numbers at spaces or commas
export function matrixOf(name, text, { width, least = 1, most = 64 } = {}) {
  const rows = text.split(/[\n;]/).filter((row, i, all) => row.trim() || all.length === 1)
    .map(row => row.replace(/[[\]()]/g, " ").trim().split(/[\s,]+/).filter((cell, i, all) => cell || all.length === 1).map(cell => numberOf(name, cell)));
  const lengths = [...new Set(rows.map(row => row.length))].sort((a, b) => a - b);
  if (lengths.length > 1) throw new Wrong(`${name}: rows have unequal lengths, ${enumerated(lengths)}`);
  if (width !== undefined && lengths[0] !== width) throw new Wrong(`${name}: rows have ${lengths[0]} numbers, they must have ${width}`);
  if (rows.length < least || rows.length > most) throw new Wrong(`${name}: there are ${rows.length} rows, from ${least} to ${most} are possible`);
  return rows;
}
export function vectorOf(name, text, { width, least = 1, most = 64 } = {}) {
  const rows = matrixOf(name, text.replace(/[\n;]/g, " "), {});
  const count = rows[0].length;
  if (width !== undefined && count !== width) throw new Wrong(`${name}: there are ${count} numbers, there must be ${width}`);
  if (count < least || count > most) throw new Wrong(`${name}: there are ${count} numbers, from ${least} to ${most} are possible`);
  return rows[0];
}
export const matrixText = matrix => matrix.map(row => row.join(",")).join(";");

// Asks the board for what is new, and keeps what it has said: rows by name, curves by run and name.

export const known = {
  server: "", version: 0, order: "", rows: new Map(), groups: [], curves: new Map(), states: {}, last: null,
};
let key = sessionStorage.getItem("heed-board-key") || "";

export function useKey(text) {
  key = text;
  sessionStorage.setItem("heed-board-key", key);
}

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(question) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = JSON.stringify({ ...question, server: known.server, since: known.version, order: known.order, known: known.states });
  const reply = await fetch("v1/board", { method: "POST", headers, body, signal: AbortSignal.timeout(30000) });
  const said = await reply.json();
  if (!reply.ok) throw new Refusal(reply.status, said.error.message);
  take(said);
  return said;
}

// what is sent is what has changed; another server knows nothing of what the last one said
function take(said) {
  if (said.server !== known.server) Object.assign(known, { server: said.server, rows: new Map(), curves: new Map(), states: {} });
  known.version = said.version;
  known.order = said.order;
  for (const row of said.rows) known.rows.set(row.name, row);
  if (said.groups) known.groups = said.groups;
  const chosen = new Set(said.chosen);
  for (const name of [...known.curves.keys()]) if (!chosen.has(name)) { known.curves.delete(name); delete known.states[name]; }
  for (const [run, curves] of Object.entries(said.curves)) {
    const mine = known.curves.get(run) || new Map();
    known.curves.set(run, mine);
    known.states[run] ||= {};
    for (const [name, { known: state, from, buckets }] of Object.entries(curves)) {
      mine.set(name, [...(mine.get(name) || []).slice(0, from), ...buckets]);
      known.states[run][name] = state;
    }
  }
  known.last = said;
}

// Asks /v1/completions, whole or as it is written, and takes an answer apart into its tokens.

/** What the API takes when nothing is said. */
export const USUAL = { temperature: 1, top_p: 1, frequency_penalty: 0, presence_penalty: 0, best_of: 1 };

/** Return the body of a request: what differs from what the API takes anyhow, and the length. */
export function bodyOf(settings, prompt, mostLogprobs) {
  const body = { model: settings.model, prompt, max_tokens: settings.max_tokens };
  for (const [name, usual] of Object.entries(USUAL)) if (settings[name] !== usual) body[name] = settings[name];
  if (settings.stop.length) body.stop = settings.stop;
  if (settings.seed !== "") body.seed = Number(settings.seed);
  if (settings.probabilities === "on") body.logprobs = mostLogprobs;
  if (settings.stream && settings.best_of === 1) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
  return body;
}

/** What the server says is wrong; `status` is 0 where it does not answer. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, { key = "", body, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is heed serve still running?", 0);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refusal(said.error?.message ?? `The server answered ${response.status}.`, response.status);
}

/** Complete, and call `grown` with the answer so far: its text, its log-probabilities, why it ended, the usage. */
export async function complete(body, { key, signal, grown }) {
  const answer = { text: "", logprobs: null, finish: null, usage: null };
  const response = await ask("v1/completions", { key, body, signal });
  const take = found => {
    if (found.error) throw new Refusal(found.error.message, 500);
    const [choice] = found.choices;
    if (found.usage) answer.usage = found.usage;
    if (!choice) return;
    answer.text += choice.text;
    answer.finish = choice.finish_reason ?? answer.finish;
    if (choice.logprobs) answer.logprobs = joined(answer.logprobs, choice.logprobs);
  };
  if (body.stream) for await (const found of events(response.body)) { take(found); grown(answer); }
  else { take(await response.json()); grown(answer); }
  return answer;
}

function joined(before, more) {
  if (!before) return structuredClone(more);
  for (const name of ["tokens", "token_logprobs", "top_logprobs", "text_offset"]) before[name].push(...(more[name] ?? []));
  return before;
}

/** Yield the objects of a stream of server-sent events; it ends with [DONE]. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Refusal("The server ended the answer in its middle.", 0);
      left += value;
      let end;
      while ((end = left.search(/\r?\n\r?\n/)) >= 0) {
        const block = left.slice(0, end);
        left = left.slice(end).replace(/^\r?\n\r?\n/, "");
        const data = block.split(/\r?\n/).filter(line => line.startsWith("data:")).map(line => line.slice(5).trimStart()).join("\n");
        if (data === "[DONE]") return;
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Return the tokens of an answer: what each adds to the text, its log-probability, and the likeliest in its place.
 *
 * `text_offset` counts characters (code points) from the beginning of the prompt. A token that ends inside a character
 * adds nothing yet; what the log-probabilities do not cover comes last, by itself.
 */
export function pieces(text, logprobs) {
  if (!logprobs?.tokens.length) return text ? [{ text, logprob: null, top: [] }] : [];
  const letters = Array.from(text), begin = logprobs.text_offset[0], count = logprobs.tokens.length;
  const at = i => (i < count ? Math.min(logprobs.text_offset[i] - begin, letters.length) : letters.length);
  return logprobs.tokens.map((token, i) => ({
    text: letters.slice(at(i), at(i + 1)).join(""),
    token,
    logprob: logprobs.token_logprobs[i],
    top: Object.entries(logprobs.top_logprobs?.[i] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}

/** Return the step of a token's shade, 0 (likely) to 3 (improbable), as on every page of heed. */
export const shade = logprob => [0.5, 0.1, 0.01].filter(bound => Math.exp(Math.min(logprob, 0)) < bound).length;

/** Return a probability in per cent, with as many digits as tell it from 0 and from 1. */
export function percent(logprob) {
  const value = 100 * Math.exp(Math.min(logprob, 0));
  if (value >= 99.95 && value < 100) return "> 99.9 %";
  if (value < 0.01) return "< 0.01 %";
  return `${value.toFixed(value < 1 ? 2 : 1)} %`;
}

// A request as a command and as a program. JSON's strings and numbers are Python's as well; its three words are not.

const quoted = text => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(body, base) {
  const data = quoted(JSON.stringify(body, null, 2));
  return `curl ${quoted(`${base}/completions`)} \\
  -H "Authorization: Bearer $HEED_API_KEY" \\
  -H "Content-Type: application/json" \\
  ${body.stream ? "--no-buffer " : ""}-d ${data}`;
}

function python_value(value) {
  if (Array.isArray(value)) return `[${value.map(python_value).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python_value(each)}`).join(", ")}}`;
  return { true: "True", false: "False", null: "None" }[String(value)] ?? JSON.stringify(value);
}

export function python(body, base) {
  const given = Object.entries(body).map(([name, value]) => `    ${name}=${python_value(value)},`).join("\n");
  const show = body.stream
    ? `for part in completion:\n    if part.choices:\n        print(part.choices[0].text, end="", flush=True)`
    : "print(completion.choices[0].text)";
  return `import os

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=os.environ.get("HEED_API_KEY", "none"))
completion = client.completions.create(
${given}
)
${show}
`;
}

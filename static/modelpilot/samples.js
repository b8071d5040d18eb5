// The present form as a program: what runs here runs there.

const KEY = "MODELPILOT_KEY";
// In place of a picture, which would be megabytes of base64.
const PICTURE = "picture.png";
// What OpenAI's clients have arguments for; the rest is ours, and goes beside.
const KNOWN = {
  image: ["model", "prompt", "n", "size", "output_format"],
  audio: ["model", "input", "voice", "speed", "response_format"],
  video: ["model", "prompt", "size"],
};

// In place of a recording.
const RECORDING = "recording.mp3";

const shell = (text) => text.replaceAll("'", `'\\''`);
const json = (value) => JSON.stringify(value, null, 2);

export function curl({ api, route, kind }, body) {
  if (kind === "transcription") {
    const fields = Object.entries(body).map(([name, value]) => `  -F '${shell(`${name}=${value}`)}'`);
    return [`curl ${api}/${route}`, `  -H "Authorization: Bearer $${KEY}"`, ...fields, `  -F file=@${RECORDING}`].join(" \\\n");
  }
  const { image, ...rest } = body;
  const written = shell(json(image ? { ...rest, image: "PICTURE" } : rest));
  const data = image ? written.replace('"PICTURE"', `"'"$(base64 < ${PICTURE} | tr -d '\\n')"'"`) : written;
  const flags = { text: " --no-buffer", audio: " -o speech.wav" }[kind] ?? "";
  return `curl${flags} ${api}/${route} \\
  -H "Authorization: Bearer $${KEY}" \\
  -H "Content-Type: application/json" \\
  -d '${data}'`;
}

// JSON as Python writes it.
function literal(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === true || value === false) return value ? "True" : "False";
  if (value === null) return "None";
  if (Array.isArray(value)) {
    return value.length ? `[\n${value.map((part) => deeper + literal(part, deeper)).join(",\n")},\n${indent}]` : "[]";
  }
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${literal(part, deeper)}`);
  return `{${pairs.join(", ")}}`;
}

const passed = (values) =>
  Object.entries(values)
    .map(([name, value]) => `    ${name}=${literal(value, "    ")},\n`)
    .join("");

// The form's body in the words of OpenAI's clients: named arguments, and what they don't know.
function split(kind, { width, height, image, ...body }, defaults) {
  const whole = { ...body };
  if (width || height) whole.size = `${width ?? defaults.width}x${height ?? defaults.height}`;
  const named = Object.fromEntries(Object.entries(whole).filter(([name]) => KNOWN[kind].includes(name)));
  const extra = Object.fromEntries(Object.entries(whole).filter(([name]) => !KNOWN[kind].includes(name)));
  return Object.keys(extra).length ? { ...named, extra_body: extra } : named;
}

export function python({ api, kind }, body, defaults) {
  const head = `import os

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(api)}, api_key=os.environ["${KEY}"])
`;
  if (kind === "text") {
    return `${head}stream = client.chat.completions.create(
${passed(body)})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
`;
  }
  if (kind === "embedding") {
    return `${head}answer = client.embeddings.create(
${passed(body)})
for one in answer.data:
    print(one.index, len(one.embedding), one.embedding[:3])
`;
  }
  if (kind === "transcription") {
    return `${head}with open("${RECORDING}", "rb") as file:
    answer = client.audio.transcriptions.create(
${passed({ ...body }).replaceAll(/^/gm, "    ").trimEnd()}
        file=file,
    )
print(answer.text)
`;
  }
  const values = passed(split(kind, body, defaults));
  const picture = `open("${PICTURE}", "rb")`;
  if (kind === "image") {
    const [method, given] = body.image ? ["edit", `    image=${picture},\n`] : ["generate", ""];
    const ending = body.output_format ?? "png";
    return `import base64
${head}answer = client.images.${method}(
${given}${values})
for number, image in enumerate(answer.data):
    with open(f"picture-{number}.${ending}", "wb") as file:
        file.write(base64.b64decode(image.b64_json))
`;
  }
  if (kind === "audio") {
    return `${head}speech = client.audio.speech.create(
${values}${body.voice ? "" : '    voice="alloy",\n'})
speech.write_to_file("speech.wav")
`;
  }
  const given = body.image ? `    input_reference=${picture},\n` : "";
  return `${head}video = client.videos.create_and_poll(
${given}${values})
client.videos.download_content(video.id).write_to_file("video.mp4")
`;
}

const ANSWERED = `const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
// 202: not done yet; ask answer.poll_url until it is.
console.log(response.status, Object.keys(answer));
`;
const COMPARED = `const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
for (const { index, embedding } of answer.data) console.log(index, embedding.length, embedding.slice(0, 3));
`;
const HEARD = `if (!response.ok) throw new Error((await response.json()).error.message);
writeFileSync("speech.wav", Buffer.from(await response.arrayBuffer()));
`;

export function javascript({ api, route, kind }, body) {
  const key = `process.env.${KEY}`;
  if (kind === "text") {
    return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(api)}, apiKey: ${key} });
const stream = await client.chat.completions.create(${json(body)});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
`;
  }
  if (kind === "transcription") {
    const fields = Object.entries(body).map(([name, value]) => `form.append(${json(name)}, ${json(String(value))});\n`);
    return `import { openAsBlob } from "node:fs";

const form = new FormData();
${fields.join("")}form.append("file", await openAsBlob("${RECORDING}"), "${RECORDING}");
const response = await fetch("${api}/${route}", {
  method: "POST",
  headers: { Authorization: \`Bearer \${${key}}\` },
  body: form,
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
console.log(answer.text);
`;
  }
  const { image, ...rest } = body;
  const given = image ? json({ ...rest, image: "PICTURE" }).replace('"PICTURE"', `readFileSync("${PICTURE}").toString("base64")`) : json(rest);
  const used = [image && "readFileSync", kind === "audio" && "writeFileSync"].filter(Boolean);
  return `${used.length ? `import { ${used.join(", ")} } from "node:fs";\n\n` : ""}const response = await fetch("${api}/${route}", {
  method: "POST",
  headers: { Authorization: \`Bearer \${${key}}\`, "Content-Type": "application/json" },
  body: JSON.stringify(${given.replaceAll("\n", "\n  ")}),
});
${{ audio: HEARD, embedding: COMPARED }[kind] ?? ANSWERED}`;
}

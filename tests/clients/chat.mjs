// Chat by OpenAI's client for JavaScript: each function is one way to use the route.

import assert from "node:assert/strict";

export const STORY = [{ role: "user", content: "Tell me a story about a fox." }];

// What to send so that an answer comes: random weights think until they are told not to.
export function body(model, { logit_bias = {}, ...fields } = {}) {
  const bias = { ...logit_bias };
  if (model.thinks === "always") bias[model.thoughts[1]] ??= 12;
  return {
    ...model.body,
    messages: STORY,
    ...fields,
    ...(Object.keys(bias).length ? { logit_bias: bias } : {}),
  };
}

export const ask = (client, model, fields) => client.chat.completions.create(body(model, fields));

export async function stream(client, model, fields) {
  const chunks = [];
  const asked = { ...body(model, fields), stream: true };
  for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
  return chunks;
}

export const choicesOf = (chunks) => chunks.flatMap((chunk) => chunk.choices);
export const said = (chunks, part = "content", index = 0) =>
  choicesOf(chunks)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta[part] ?? "")
    .join("");
export const wordsOf = (message) => (message.reasoning_content ?? "") + (message.content ?? "");

async function whole(client, model) {
  const answer = await ask(client, model, { max_tokens: 40 });
  const [choice] = answer.choices;
  assert.equal(choice.message.role, "assistant");
  assert.ok(["stop", "length"].includes(choice.finish_reason));
  assert.ok(wordsOf(choice.message));
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.ok(completion_tokens >= 1 && completion_tokens <= 40);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
}

async function streamed(client, model) {
  const alone = await ask(client, model, { max_tokens: 40 });
  const options = { include_usage: true };
  const chunks = await stream(client, model, { max_tokens: 40, stream_options: options });
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  const { message, finish_reason } = alone.choices[0];
  assert.equal(said(chunks), message.content ?? "");
  assert.equal(said(chunks, "reasoning_content"), message.reasoning_content ?? "");
  const reasons = choicesOf(chunks).map((choice) => choice.finish_reason).filter(Boolean);
  assert.deepEqual(reasons, [finish_reason]);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, alone.usage.completion_tokens);
  const plain = await stream(client, model, { max_tokens: 3 });
  assert.ok(plain.every((chunk) => chunk.choices.length), "unasked usage");
}

async function thoughts(client, model) {
  if (model.thinks === "never") {
    const answer = await ask(client, model, { reasoning_effort: "low", max_tokens: 5 });
    assert.equal(answer.choices[0].message.reasoning_content, undefined);
    assert.equal(answer.usage.completion_tokens_details.reasoning_tokens, 0);
    return;
  }
  const [fields, answer] = await thinking(client, model);
  const { message } = answer.choices[0];
  const { completion_tokens, completion_tokens_details } = answer.usage;
  assert.ok(completion_tokens_details.reasoning_tokens > 0);
  assert.ok(completion_tokens_details.reasoning_tokens < completion_tokens);
  const chunks = await stream(client, model, fields);
  assert.equal(said(chunks), message.content);
  assert.equal(said(chunks, "reasoning_content"), message.reasoning_content);
  const parts = choicesOf(chunks).map(({ delta }) =>
    delta.reasoning_content ? "thought" : delta.content ? "answer" : "",
  );
  assert.ok(parts.lastIndexOf("thought") < parts.indexOf("answer"));
}

// With which seed a model of random weights has a thought, and then an answer.
async function thinking(client, model) {
  const [begin, end] = model.thoughts;
  const bias = model.thinks === "always" ? { [end]: 6 } : { [begin]: 12, [end]: 12 };
  for (let seed = 0; seed < 40; seed++) {
    const fields = { seed, logit_bias: bias, reasoning_effort: "high", max_tokens: 60 };
    const answer = await ask(client, model, fields);
    const { message } = answer.choices[0];
    if (message.reasoning_content && message.content) return [fields, answer];
  }
  assert.fail("it never thought");
}

async function logprobs(client, model) {
  const fields = { logprobs: true, top_logprobs: 3, max_tokens: 60 };
  const told = (await ask(client, model, fields)).choices[0].logprobs.content;
  assert.ok(told.length > 0);
  assert.ok(told.every((entry) => entry.logprob <= 0 && entry.top_logprobs.length === 3));
  const streamed = choicesOf(await stream(client, model, fields)).flatMap(
    (choice) => choice.logprobs?.content ?? [],
  );
  assert.deepEqual(streamed.map(({ token }) => token), told.map(({ token }) => token));
}

async function several(client, model) {
  const fields = { n: 3, max_tokens: 30, temperature: 1.5 };
  const answer = await ask(client, model, fields);
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
  assert.equal(new Set(answer.choices.map((choice) => wordsOf(choice.message))).size, 3);
  const chunks = await stream(client, model, fields);
  for (const { index, message } of answer.choices) {
    assert.equal(said(chunks, "content", index), message.content ?? "");
  }
}

async function logitBias(client, model) {
  const [a, b] = model.letters;
  const letters = async (bias) =>
    wordsOf((await ask(client, model, { logit_bias: bias, max_tokens: 6 })).choices[0].message);
  assert.match(await letters({ [a]: 100 }), /^A+$/);
  assert.match(await letters({ [a]: -100, [b]: 100 }), /^B+$/);
  await assert.rejects(letters({ 99999999: 1 }), { status: 400, param: "logit_bias" });
}

async function penalties(client, model) {
  const [a, b] = model.letters;
  const fields = { logit_bias: { [a]: 100, [b]: 100 }, temperature: 0, max_tokens: 30 };
  const dear = { ...fields, frequency_penalty: 2, presence_penalty: 2 };
  const text = wordsOf((await ask(client, model, dear)).choices[0].message);
  assert.deepEqual([...new Set(text)].sort(), ["A", "B"]);
}

async function seeds(client, model) {
  const texts = [];
  for (const seed of [7, 7, 8]) {
    const answer = await ask(client, model, { seed, temperature: 1.5, max_tokens: 30 });
    texts.push(wordsOf(answer.choices[0].message));
  }
  assert.equal(texts[0], texts[1]);
  assert.notEqual(texts[0], texts[2]);
}

async function stops(client, model) {
  const [a, b] = model.letters;
  for (const stop of ["AB", ["AB", "BA"]]) {
    const fields = { stop, temperature: 0, frequency_penalty: 2, max_tokens: 120 };
    const [choice] = (await ask(client, model, { ...fields, logit_bias: { [a]: 97, [b]: 97 } }))
      .choices;
    assert.ok(!(choice.message.content ?? "").includes("AB"));
    // Thoughts are not stopped.
    if (model.thinks !== "always") assert.equal(choice.finish_reason, "stop");
  }
}

async function cancelled(client, model) {
  const bias = Object.fromEntries(model.ends.map((end) => [end, -100]));
  const asked = { ...body(model, { max_tokens: 1500, logit_bias: bias }), stream: true };
  let count = 0;
  let id;
  for await (const chunk of await client.chat.completions.create(asked)) {
    id = chunk.id;
    if (++count === 4) break;
  }
  const job = await ended(client, id);
  assert.equal(job.state, "cancelled");
  const tokens = job.result.usage.completion_tokens;
  assert.ok(tokens >= 1 && tokens < 1500);
  assert.ok(Math.abs(job.cost - costOf(model, job.result.usage)) < 1.1e-6);
}

async function ended(client, id) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const job = await client.get(`/jobs/${id}`);
    if (!["queued", "running"].includes(job.state)) return job;
    assert.ok(Date.now() < deadline, `it does not end: ${JSON.stringify(job)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function costOf(model, usage) {
  if (!model.price) return 0.001;
  const known = usage.prompt_tokens_details.cached_tokens;
  const [input, cached, output] = model.price;
  const read = input * (usage.prompt_tokens - known) + cached * known;
  return (read + output * usage.completion_tokens) / 1e6;
}

async function tooLong(client, model) {
  const messages = [{ role: "user", content: "word ".repeat(2500) }];
  await assert.rejects(
    client.chat.completions.create({ model: model.id, messages, stream: true }),
    { status: 400, code: "context_length_exceeded", message: /\d+ tokens, .*context is 2048 tokens/ },
  );
}

export const routes = {
  "chat": whole,
  "chat, streamed": streamed,
  "reasoning, and streamed": thoughts,
  "logprobs, and streamed": logprobs,
  "n, and streamed": several,
  "logit_bias": logitBias,
  "penalties": penalties,
  "seed": seeds,
  "stop": stops,
  "cancel": cancelled,
  "context_length_exceeded": tooLong,
};

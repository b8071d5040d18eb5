// The routes around chat by OpenAI's client for JavaScript.

import assert from "node:assert/strict";

import OpenAI, { toFile } from "openai";

const SENTENCE = "The weather is very nice today.";
const FRANCE = "The capital of France is";

// By text model

async function completions(client, model) {
  const fields = { model: model.id, prompt: FRANCE, max_tokens: 12, seed: 3 };
  const answer = await client.completions.create({ ...fields, n: 2, echo: true });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  assert.ok(answer.choices.every((choice) => choice.text.startsWith(FRANCE)));
  const [alone] = (await client.completions.create(fields)).choices;
  const chunks = [];
  const asked = { ...fields, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.completions.create(asked)) chunks.push(chunk);
  const last = chunks.pop();
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), alone.text);
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens >= 1);
}

async function completionLogprobs(client, model) {
  const fields = { model: model.id, prompt: FRANCE, max_tokens: 8, logprobs: 2, seed: 3 };
  const told = (await client.completions.create(fields)).choices[0].logprobs;
  assert.ok(told.tokens.length > 0);
  assert.ok(told.token_logprobs.every((logprob) => logprob <= 0));
  const streamed = [];
  for await (const chunk of await client.completions.create({ ...fields, stream: true })) {
    streamed.push(...(chunk.choices[0].logprobs?.tokens ?? []));
  }
  assert.deepEqual(streamed, told.tokens);
}

async function completionStop(client, model) {
  const [a, b] = model.letters;
  const [choice] = (
    await client.completions.create({
      model: model.id,
      prompt: "x",
      max_tokens: 120,
      temperature: 0,
      frequency_penalty: 2,
      logit_bias: { [a]: 97, [b]: 97 },
      stop: ["AB", "BA"],
    })
  ).choices;
  assert.equal(choice.finish_reason, "stop");
  assert.ok(new Set(choice.text).size <= 1);
}

// By client

async function models(client, model) {
  const listed = [];
  for await (const one of client.models.list()) listed.push(one.id);
  assert.ok(listed.includes(model.id));
  assert.equal((await client.models.retrieve(model.id)).id, model.id);
}

async function embeddings(client) {
  const input = ["a red apple", "a green apple", "the theory of relativity"];
  const fields = { model: "all-minilm-l6-v2", input };
  const vectors = (await client.embeddings.create(fields)).data.map((one) => one.embedding);
  const numbers = await client.embeddings.create({ ...fields, encoding_format: "float" });
  numbers.data.forEach((one, index) =>
    one.embedding.forEach((x, i) => assert.ok(Math.abs(x - vectors[index][i]) < 1e-6)),
  );
  assert.ok(likeness(vectors[0], vectors[1]) > likeness(vectors[0], vectors[2]) + 0.2);
}

function likeness(one, other) {
  const product = one.reduce((sum, x, i) => sum + x * other[i], 0);
  return product / (Math.hypot(...one) * Math.hypot(...other));
}

async function spoken(client) {
  const response = await client.audio.speech.create({
    model: "piper-joe",
    voice: "alloy",
    input: SENTENCE,
    response_format: "wav",
  });
  return Buffer.from(await response.arrayBuffer());
}

async function speech(client) {
  assert.equal((await spoken(client)).subarray(0, 4).toString(), "RIFF");
}

async function transcriptions(client) {
  const sound = await spoken(client);
  const create = async (more) =>
    client.audio.transcriptions.create({
      model: "pocketsphinx",
      file: await toFile(sound, "speech.wav"),
      ...more,
    });
  const { text } = await create({});
  assert.match(text, /weather/);
  const verbose = await create({
    response_format: "verbose_json",
    timestamp_granularities: ["word", "segment"],
  });
  assert.equal(verbose.text, text);
  assert.ok(verbose.words.some(({ word }) => word === "weather"));
  assert.ok(verbose.segments[0].end <= verbose.duration + 0.1);
  assert.match(await create({ response_format: "srt" }), /-->/);
  const events = [];
  for await (const event of await create({ stream: true })) events.push(event);
  assert.equal(events.at(-1).type, "transcript.text.done");
  assert.equal(events.slice(0, -1).map((event) => event.delta).join(""), text);
}

async function images(client) {
  const asked = { model: "emoji-64", size: "256x256" };
  const drawn = await client.images.generate({ ...asked, prompt: "a red apple", n: 2 });
  const pictures = drawn.data.map((one) => Buffer.from(one.b64_json, "base64"));
  assert.ok(pictures.every((picture) => picture.subarray(1, 4).toString() === "PNG"));
  const image = await toFile(pictures[0], "apple.png", { type: "image/png" });
  const edited = await client.images.edit({ model: "emoji-64", prompt: "a green apple", image });
  assert.ok(edited.data[0].b64_json);
}

async function refusals(client, model) {
  const messages = [{ role: "user", content: "Hi" }];
  const refused = (one, fields, kind, told) =>
    assert.rejects(one.chat.completions.create({ model: model.id, messages, ...fields }), (error) => {
      assert.ok(error instanceof kind, `${error}`);
      for (const [name, value] of Object.entries(told)) assert.equal(error[name], value);
      return true;
    });
  const stranger = client.withOptions({ apiKey: "mp_live_wrong" });
  await refused(stranger, {}, OpenAI.AuthenticationError, { code: "invalid_api_key" });
  await refused(client, { model: "gpt-4o" }, OpenAI.NotFoundError, { code: "model_not_found" });
  const wrong = { param: "temperature", code: "invalid_value" };
  await refused(client, { temperature: 3 }, OpenAI.UnprocessableEntityError, wrong);
  const lacking = { param: "functions", code: "unsupported_parameter" };
  await refused(client, { functions: [{ name: "f" }] }, OpenAI.BadRequestError, lacking);
  const dear = { status: 402, code: "max_cost_exceeded" };
  await refused(client, { max_cost: 0.0000001 }, OpenAI.APIError, dear);
}

export const byModel = {
  "completions, and streamed": completions,
  "completions, logprobs": completionLogprobs,
  "completions, stop": completionStop,
};
export const once = {
  "models": models,
  "embeddings": embeddings,
  "audio/speech": speech,
  "audio/transcriptions": transcriptions,
  "images": images,
  "refusals": refusals,
};

// Answers in a form, by OpenAI's client for JavaScript: calls of tools, and JSON.

import assert from "node:assert/strict";

import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ask, body, choicesOf, said, stream } from "./chat.mjs";

const WEATHER = [{ role: "user", content: "What is the weather in Paris?" }];
const CITY = {
  type: "object",
  properties: { city: { enum: ["Paris", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};
const TOOL = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Tells the weather of a city.",
    parameters: CITY,
    strict: true,
  },
};
const CLOCK = { type: "function", function: { name: "get_time" } };
const NAMED = { type: "function", function: { name: "get_weather" } };
const ALLOWED = { type: "allowed_tools", allowed_tools: { mode: "required", tools: [NAMED] } };
const SCHEMA = {
  type: "json_schema",
  json_schema: {
    name: "verdict",
    strict: true,
    schema: {
      type: "object",
      properties: { sure: { type: "boolean" }, colour: { enum: ["red", "blue"] } },
      required: ["sure", "colour"],
      additionalProperties: false,
    },
  },
};
const cityOf = (call) => JSON.parse(call.function.arguments).city;

async function toolRequired(client, model) {
  for (const choice of ["required", NAMED, ALLOWED]) {
    const answer = await ask(client, model, {
      tools: choice === "required" ? [TOOL] : [TOOL, CLOCK],
      tool_choice: choice,
      parallel_tool_calls: false,
    });
    const { message, finish_reason } = answer.choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.equal(message.content, null);
    assert.equal(message.tool_calls.length, 1);
    assert.equal(message.tool_calls[0].function.name, "get_weather");
    assert.ok(["Paris", "Rome"].includes(cityOf(message.tool_calls[0])));
  }
}

async function toolStreamed(client, model) {
  const chunks = await stream(client, model, {
    tools: [TOOL],
    tool_choice: "required",
    parallel_tool_calls: false,
  });
  const pieces = choicesOf(chunks).flatMap((choice) => choice.delta.tool_calls ?? []);
  const [first, ...rest] = pieces;
  assert.ok(first.id);
  assert.equal(first.function.name, "get_weather");
  assert.ok(rest.every((piece) => piece.index === 0 && piece.id === undefined));
  const text = pieces.map((piece) => piece.function.arguments ?? "").join("");
  assert.ok(["Paris", "Rome"].includes(JSON.parse(text).city));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
}

async function toolByTheSdksStream(client, model) {
  const asked = body(model, { messages: WEATHER, tools: [TOOL], tool_choice: NAMED });
  const runner = client.chat.completions.stream(asked);
  const done = [];
  runner.on("tool_calls.function.arguments.done", (event) => done.push(event));
  const final = await runner.finalChatCompletion();
  assert.equal(done.length, 1);
  assert.equal(done[0].name, "get_weather");
  const [call] = final.choices[0].message.tool_calls;
  assert.deepEqual(call.function.parsed_arguments, JSON.parse(done[0].arguments));
}

async function toolAnswered(client, model) {
  const asked = body(model, { messages: WEATHER, tools: [TOOL], tool_choice: NAMED });
  const { message } = (await client.chat.completions.create(asked)).choices[0];
  const answer = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "Sunny." };
  const second = await client.chat.completions.create({
    ...asked,
    messages: [...WEATHER, message, answer],
    tool_choice: "none",
    max_tokens: 30,
  });
  assert.equal(second.choices[0].message.tool_calls, undefined);
  assert.ok(["stop", "length"].includes(second.choices[0].finish_reason));
}

async function jsonObject(client, model) {
  const answer = await ask(client, model, { response_format: { type: "json_object" } });
  const { message, finish_reason } = answer.choices[0];
  assert.ok(message.content.trimStart().startsWith("{"));
  if (finish_reason === "stop") assert.equal(typeof JSON.parse(message.content), "object");
}

async function jsonSchema(client, model) {
  const answer = await ask(client, model, { response_format: SCHEMA });
  const { message, finish_reason } = answer.choices[0];
  assert.equal(finish_reason, "stop");
  const { sure, colour, ...others } = JSON.parse(message.content);
  assert.equal(typeof sure, "boolean");
  assert.ok(["red", "blue"].includes(colour));
  assert.deepEqual(others, {});
  assert.equal(said(await stream(client, model, { response_format: SCHEMA })), message.content);
}

async function jsonByTheSdksParse(client, model) {
  const form = zodResponseFormat(z.object({ sure: z.boolean() }), "sure");
  const answer = await client.chat.completions.parse(body(model, { response_format: form }));
  assert.equal(typeof answer.choices[0].message.parsed.sure, "boolean");
}

export const routes = {
  "tools": toolRequired,
  "tools, streamed": toolStreamed,
  "tools, the SDK's stream()": toolByTheSdksStream,
  "tools, answered": toolAnswered,
  "json_object": jsonObject,
  "json_schema, and streamed": jsonSchema,
  "json_schema, the SDK's parse()": jsonByTheSdksParse,
};

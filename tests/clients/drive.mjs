// OpenAI's client for JavaScript on every route: run by `python -m tests.clients`, which says in
// CLIENTS where the system is, with which key, and what models there are.

import OpenAI from "openai";

import * as around from "./around.mjs";
import * as chat from "./chat.mjs";
import * as forms from "./forms.mjs";

const { url, key, models, route, all } = JSON.parse(process.env.CLIENTS);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 300_000 });

async function say(model, name, act) {
  const begun = Date.now();
  let how;
  try {
    await act();
    how = `ok ${((Date.now() - begun) / 1000).toFixed(1)} s`;
  } catch (error) {
    how = `FAILED: ${error.name}: ${String(error.stack).replaceAll("\n", " ")}`;
  }
  console.log(`javascript ${model.padEnd(20)} ${name.padEnd(30)}: ${how}`);
}

for (const model of models) {
  for (const [name, act] of Object.entries({ ...chat.routes, ...forms.routes, ...around.byModel })) {
    if (name.includes(route)) await say(model.id, name, () => act(client, model));
  }
}
for (const [name, act] of Object.entries(all ? around.once : {})) {
  if (name.includes(route)) await say("", name, () => act(client, models[0]));
}

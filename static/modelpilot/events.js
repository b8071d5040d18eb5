// Server-Sent Events of the API, with the session's cookie, its errors and a way to stop.

import { ApiError, request } from "./api.js";

const RECONNECT_MS = 1000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Each event as { name, data, id }; a comment, which says what is waited for, as { comment }.
export async function* read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  if (block.startsWith(":")) return { comment: block.slice(1).trim() };
  const event = { name: "message", data: "" };
  for (const line of block.split("\n")) {
    const [field, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += value;
  }
  return event;
}

// A job from where it stands to its end, over as many connections as that takes.
export async function* follow(job, signal) {
  let last;
  for (;;) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      for await (const event of read(await request(`jobs/${job}/events`, { headers, signal }))) {
        if (event.comment) continue;
        last = event.id ?? last;
        yield { name: event.name, data: JSON.parse(event.data) };
        if (event.name === "end") return;
      }
    } catch (error) {
      const lost = !(error instanceof ApiError) || error.status >= 500;
      if (!lost || signal.aborted) throw error;
    }
    await pause(RECONNECT_MS);
  }
}

// Texts as vectors, and what they are for: which of them are near in meaning.

import { call } from "./api.js";
import { copy } from "./clipboard.js";
import { button, drawn, element } from "./elements.js";
import Media from "./media.js";

// More make a picture that nobody can read.
const MOST_DRAWN = 16;
const CELL = 10;

export default class Vectors extends Media {
  body() {
    const { input = "" } = this.form.values();
    const lines = input.split("\n").map((line) => line.trim());
    return { model: this.about.model, input: lines.filter(Boolean) };
  }

  priced() {
    const body = this.body();
    return body.input.length ? body : { ...body, input: ["…"] };
  }

  async run() {
    const body = { ...this.body(), encoding_format: "base64" };
    this.aborter = new AbortController();
    const waiting = new AbortController();
    this.wait(waiting.signal).catch(() => {});
    try {
      const answer = await call(this.about.route, { method: "POST", body, signal: this.aborter.signal });
      this.standing.warm();
      this.compare(body.input, answer.data.map(({ embedding }) => numbers(embedding)));
      await this.standing.settle(answer.x_modelpilot.cost, `${answer.usage.total_tokens} tokens`);
      this.look();
      return await call(`jobs/${answer.x_modelpilot.job_id}`);
    } catch (error) {
      if (!this.stopping || error.code !== "cancelled") throw error;
      await this.standing.settle(error.detail?.cost ?? 0, "stopped");
      return null;
    } finally {
      waiting.abort();
    }
  }

  compare(texts, vectors) {
    const near = vectors.map((one) => vectors.map((other) => cosine(one, other)));
    const taken = button("Copy the vectors", () => copy(JSON.stringify(vectors.map((vector) => [...vector]))));
    this.stage.replaceChildren(
      ...(texts.length > 1 ? [ranking(texts, near[0])] : [element("p", {}, "Write a second line to see how near the two are.")]),
      ...(texts.length > 2 && texts.length <= MOST_DRAWN ? [heat(texts, near)] : []),
      element("div", { class: "row between" }, element("p", { class: "muted small" }, `${vectors.length} × ${vectors[0].length} numbers`), taken),
    );
  }

  // Vectors are not kept for reading: the texts can be compared again.
  open(job) {
    this.form.fill({ input: job.request.inputs.join("\n") });
    this.form.focus("input");
  }
}

const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

function cosine(one, other) {
  const dot = (a, b) => a.reduce((sum, number, place) => sum + number * b[place], 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

function ranking(texts, near) {
  const others = texts.map((text, place) => [text, near[place]]).slice(1);
  others.sort((one, other) => other[1] - one[1]);
  const line = ([text, share]) =>
    element(
      "li",
      {},
      element("span", {}, text),
      element("progress", { class: "slim", max: 1, value: Math.max(0, share), "aria-label": text }),
      element("b", { class: "num" }, share.toFixed(3)),
    );
  return element("section", { class: "stack tight" }, element("h2", {}, `Nearest to “${texts[0]}”`), element("ol", { class: "near" }, ...others.map(line)));
}

// Each text against each: the fuller, the nearer.
function heat(texts, near) {
  const side = texts.length * CELL;
  const cells = near.flatMap((row, y) =>
    row.map((share, x) => {
      const cell = { class: "colour-1", x: x * CELL, y: y * CELL, width: CELL - 0.6, height: CELL - 0.6, "fill-opacity": Math.max(0.04, share).toFixed(2) };
      return drawn("rect", cell, drawn("title", {}, `${texts[y]}\n${texts[x]}\n${share.toFixed(3)}`));
    }),
  );
  const picture = drawn("svg", { class: "heat", viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": "Each text against each" }, ...cells);
  return element("figure", {}, picture, element("figcaption", { class: "muted small" }, "Each text against each: the fuller, the nearer."));
}

// Pictures, films and speech: a job that is followed from its first moment to its outputs.

import { ApiError, call, request } from "./api.js";
import { button, element, local } from "./elements.js";
import { follow } from "./events.js";
import { Speaker } from "./speaker.js";
import { toast } from "./toast.js";

const ENDINGS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/mp4": "mp4", "audio/wav": "wav", "audio/mpeg": "mp3" };
// A job's names for what the form calls otherwise.
const RENAMED = { format: "output_format", text: "input" };
// Until a request has become a job.
const PLACED_MS = 500;

export default class Media {
  constructor(about, form, standing) {
    Object.assign(this, { about, form, standing });
    this.stage = document.getElementById("stage");
  }

  body() {
    const values = this.form.values();
    if (this.about.kind !== "audio") return { model: this.about.model, prompt: "", ...values };
    return { model: this.about.model, input: "", ...values, response_format: "wav" };
  }

  // What is asked for the price: a picture costs nothing by itself, and is large.
  priced() {
    const { image, strength, ...body } = this.body();
    const { main } = this.about;
    return body[main] ? body : { ...body, [main]: "…" };
  }

  async run() {
    this.aborter = new AbortController();
    if (this.about.kind === "audio") return this.speak();
    const options = { method: "POST", body: this.body(), headers: { Prefer: "respond-async" }, signal: this.aborter.signal };
    const accepted = await call(this.about.route, options);
    this.standing.state(accepted);
    return this.follow(accepted.job_id);
  }

  // Heard while it is spoken.
  async speak() {
    this.hush();
    this.speaker = new Speaker();
    const waiting = new AbortController();
    this.wait(waiting.signal).catch(() => {});
    try {
      const options = { method: "POST", body: this.body(), signal: this.aborter.signal };
      const response = await request(this.about.route, options);
      waiting.abort();
      this.id = response.headers.get("x-modelpilot-job-id");
      this.standing.warm();
      this.standing.say("Speaking");
      this.standing.expect(0);
      await this.listen(response);
    } catch (error) {
      if (!this.stopping || !this.id) throw error;
    } finally {
      waiting.abort();
    }
    return this.follow(this.id);
  }

  async listen(response) {
    const sampleRate = Number(response.headers.get("x-modelpilot-sample-rate"));
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.speaker?.push(value, sampleRate);
    }
  }

  // The answer names its job when it begins; until then it is the newest one.
  async wait(signal) {
    await new Promise((resolve) => setTimeout(resolve, PLACED_MS));
    const { data } = await call("jobs?limit=1", { signal });
    if (data[0]?.model !== this.about.model || !["queued", "running"].includes(data[0].state)) return;
    this.id = data[0].id;
    for await (const { name, data: state } of follow(this.id, signal)) {
      if (name === "state") this.standing.state(state);
    }
  }

  // To its end; the job goes on where the page is left, and is taken up again by the next one.
  async follow(id) {
    this.id = id;
    this.aborter ??= new AbortController();
    this.look();
    for await (const { name, data } of follow(id, this.aborter.signal)) {
      if (name === "state") this.standing.state(data);
      else if (name === "progress") this.standing.progress(data.fraction);
      else if (name === "preview") this.preview(data);
      else if (name === "delta") this.piece(data);
      else if (name === "restart") this.standing.say("Starting again");
      else if (name === "end") return this.ended(data);
    }
  }

  async ended(job) {
    if (job.state === "failed") {
      this.standing.hide();
      throw new ApiError(500, job.error);
    }
    if (job.state === "cancelled") {
      this.hush();
      await this.standing.settle(job.cost, "stopped");
      return null;
    }
    this.show(job);
    await this.standing.settle(job.cost);
    this.look();
    return job;
  }

  // On a phone the result is below the form.
  look() {
    document.querySelector(".stage").scrollIntoView({ block: "nearest" });
  }

  stop() {
    this.stopping = true;
    this.hush();
    if (this.id) call(`jobs/${this.id}/cancel`, { method: "POST" }).catch((error) => toast(error.message, "bad"));
    else this.aborter?.abort();
  }

  hush() {
    this.speaker?.stop();
    this.speaker = null;
  }

  idle() {
    this.stopping = false;
    this.id = null;
    this.aborter = null;
  }

  open(job) {
    this.hush();
    this.show(job);
    this.look();
  }

  // What is a text comes by the piece.
  piece() {}

  preview({ media_type: type, data }) {
    const picture = element("img", { src: `data:${type};base64,${data}`, alt: "Preview", class: "preview" });
    this.stage.replaceChildren(element("figure", {}, picture));
  }

  show(job) {
    const made = job.outputs.filter((file) => !(this.about.kind === "video" && file.media_type.startsWith("image/")));
    const poster = this.about.kind === "video" && job.outputs.find((file) => file.media_type.startsWith("image/"));
    const figures = made.map((file, place) => this.figure(job, file, place, poster));
    const reuse = button("Use these parameters", () => this.reuse(job));
    this.form.noteSeed(job.request.seed);
    this.stage.replaceChildren(
      element("div", { class: `made count-${figures.length}` }, ...figures),
      ...job.warnings.map((warning) => element("p", { class: "alert warn" }, warning)),
      element("div", { class: "row between" }, element("p", { class: "muted small asked" }, job.request.prompt ?? job.request.text ?? ""), reuse),
    );
  }

  figure(job, file, place, poster) {
    const url = local(file.url);
    const asked = job.request.prompt ?? job.request.text;
    const seed = job.request.seed == null ? null : job.request.seed + place;
    const facts = [seed !== null && `seed ${seed}`, job.request.width && `${job.request.width}×${job.request.height}`];
    const name = `${job.model.replace(/\W+/g, "-")}-${job.id.slice(-6)}-${place + 1}.${ENDINGS[file.media_type] ?? "bin"}`;
    const actions = [element("a", { class: "button small", href: url, download: name }, "Download")];
    if (this.about.kind === "image" && this.form.input("image")) {
      actions.push(button("Begin with this", () => this.beginWith(url)));
    }
    return element(
      "figure",
      {},
      this.player(url, asked, poster),
      element(
        "figcaption",
        { class: "row between" },
        element("span", { class: "muted small mono" }, facts.filter(Boolean).join(" · ")),
        element("span", { class: "actions" }, ...actions),
      ),
    );
  }

  player(url, asked, poster) {
    if (this.about.kind === "image") return element("img", { src: url, alt: asked });
    if (this.about.kind === "audio") return element("audio", { src: url, controls: true, "aria-label": "Speech" });
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const film = element("video", {
      src: url,
      poster: poster && local(poster.url),
      controls: true,
      loop: true,
      playsinline: true,
      autoplay: !still,
      "aria-label": asked,
    });
    // A browser lets silent films begin by themselves.
    film.muted = true;
    return film;
  }

  reuse(job) {
    const values = Object.fromEntries(Object.entries(job.request).map(([name, value]) => [RENAMED[name] ?? name, value]));
    this.form.fill(values);
    if (job.request.image) toast("The picture that it began with has to be chosen again.");
    this.form.focus(this.about.kind === "audio" ? "input" : "prompt");
  }

  async beginWith(url) {
    const file = await (await fetch(url)).blob();
    const reader = new FileReader();
    reader.addEventListener("load", () => this.form.setPicture("image", reader.result));
    reader.readAsDataURL(file);
  }
}

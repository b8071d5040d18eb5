// Pictures, films and speech: a job that is followed from its first moment to its outputs.

import { ApiError, call } from "./api.js";
import { button, element, local } from "./elements.js";
import { follow } from "./events.js";
import { Speaker } from "./speaker.js";
import { toast } from "./toast.js";

const ENDINGS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/mp4": "mp4", "audio/wav": "wav", "audio/mpeg": "mp3" };
// A request's names for what the form calls otherwise.
const RENAMED = { format: "output_format" };

export class Media {
  constructor(about, form, standing) {
    Object.assign(this, { about, form, standing });
    this.stage = document.getElementById("stage");
  }

  body(values = this.form.values()) {
    const main = this.about.kind === "audio" ? "text" : "prompt";
    return { model: this.about.model, [main]: "", ...values };
  }

  async run() {
    this.aborter = new AbortController();
    const options = { method: "POST", body: this.body(), headers: { Prefer: "respond-async" }, signal: this.aborter.signal };
    this.hush();
    // Only now, as the press of a button, may a page sound.
    if (this.about.kind === "audio") this.speaker = new Speaker();
    const accepted = await call(this.about.route, options);
    this.standing.state(accepted);
    return this.follow(accepted.job_id);
  }

  // To its end; the job goes on where the page is left, and is taken up again by the next one.
  async follow(id) {
    this.id = id;
    this.aborter ??= new AbortController();
    document.querySelector(".stage").scrollIntoView({ block: "nearest" });
    for await (const { name, data } of follow(id, this.aborter.signal)) {
      if (name === "state") this.standing.state(data);
      else if (name === "progress") this.standing.progress(data.fraction);
      else if (name === "preview") this.preview(data);
      else if (name === "sound") this.speaker?.push(data.data, data.offset, data.sample_rate);
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
    return job;
  }

  stop() {
    this.hush();
    if (this.id) call(`jobs/${this.id}/cancel`, { method: "POST" }).catch((error) => toast(error.message, "bad"));
    else this.aborter?.abort();
  }

  hush() {
    this.speaker?.stop();
    this.speaker = null;
  }

  idle() {
    this.id = null;
    this.aborter = null;
  }

  open(job) {
    this.hush();
    this.show(job);
    this.stage.scrollIntoView({ block: "nearest" });
  }

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
    this.form.focus(this.about.kind === "audio" ? "text" : "prompt");
  }

  async beginWith(url) {
    const file = await (await fetch(url)).blob();
    const reader = new FileReader();
    reader.addEventListener("load", () => this.form.setPicture("image", reader.result));
    reader.readAsDataURL(file);
  }
}

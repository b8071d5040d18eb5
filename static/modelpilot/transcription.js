// A recording, from a file or the microphone, and what is said in it, as it is understood.

import { call } from "./api.js";
import { copy } from "./clipboard.js";
import { button, element } from "./elements.js";
import { seconds } from "./figures.js";
import Media from "./media.js";
import { toast } from "./toast.js";

// To know a price one needs no recording: the longest is reckoned with.
const NOTHING = "AAAA";

export default class Transcription extends Media {
  constructor(about, form, standing) {
    super(about, form, standing);
    this.input = form.input("file");
    this.picked = form.root.querySelector("[data-picked]");
    this.input.addEventListener("change", () => this.pick(this.input.files[0]));
    this.picked.querySelector("[data-unpick]").addEventListener("click", () => this.pick(null));
    form.root.addEventListener("click", (event) => {
      const example = event.target.closest("[data-recording]");
      if (example) this.fetched(example.dataset.recording);
    });
    const record = document.getElementById("record");
    // Browsers give the microphone to pages that came safely.
    record.hidden = !navigator.mediaDevices || !window.MediaRecorder;
    record.addEventListener("click", () => this.record(record).catch(() => toast("The browser does not give us the microphone.", "bad")));
  }

  body() {
    return { model: this.about.model, ...this.form.values() };
  }

  priced() {
    return { ...this.body(), file: NOTHING };
  }

  pick(file) {
    this.file = file ?? null;
    if (!file) this.input.value = "";
    const player = this.picked.querySelector("audio");
    URL.revokeObjectURL(player.src);
    if (file) player.src = URL.createObjectURL(file);
    else player.removeAttribute("src");
    this.picked.hidden = !file;
    this.form.clear("file");
  }

  async fetched(url) {
    const sound = await (await fetch(url)).blob();
    this.pick(new File([sound], url.split("/").pop().split("?")[0], { type: sound.type }));
    this.form.focus("file");
  }

  async record(pressed) {
    const label = pressed.querySelector("[data-label]");
    if (this.recorder) {
      this.recorder.stop();
      return;
    }
    const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    this.recorder = new MediaRecorder(sound);
    this.recorder.addEventListener("dataavailable", ({ data }) => this.pick(new File([data], "recording.webm", { type: data.type })));
    this.recorder.addEventListener("stop", () => {
      for (const track of sound.getTracks()) track.stop();
      this.recorder = null;
      label.textContent = "Record";
    });
    this.recorder.start();
    label.textContent = "Stop recording";
  }

  async run() {
    if (!this.file) {
      this.form.complain("file", "Choose or record something first.");
      this.form.focus("file");
      return null;
    }
    this.aborter = new AbortController();
    const body = new FormData();
    for (const [name, value] of Object.entries(this.body())) body.append(name, value);
    body.append("file", this.file, this.file.name);
    const options = { method: "POST", body, headers: { Prefer: "respond-async" }, signal: this.aborter.signal };
    const accepted = await call(this.about.route, options);
    this.text = "";
    this.standing.state(accepted);
    return this.follow(accepted.id);
  }

  // A repeated piece begins at an earlier place.
  piece({ offset, text }) {
    this.text = this.text.slice(0, offset) + text;
    this.stage.replaceChildren(element("p", { class: "heard" }, this.text));
  }

  show(job) {
    const { text, segments = [], language, duration_s: duration } = job.result;
    const facts = [language, duration != null && seconds(duration * 1000)].filter(Boolean).join(" · ");
    this.stage.replaceChildren(
      segments.length > 1 ? element("ol", { class: "segments" }, ...segments.map((segment) => this.segment(segment))) : element("p", { class: "heard" }, text || "Nothing was understood."),
      element("div", { class: "row between" }, element("p", { class: "muted small" }, facts), button("Copy", () => copy(text))),
    );
  }

  // A click on its time plays it.
  segment({ start, text }) {
    const player = this.picked.querySelector("audio");
    const play = () => {
      if (!this.file) return;
      player.currentTime = start;
      player.play();
    };
    const minutes = `${Math.floor(start / 60)}:${String(Math.floor(start % 60)).padStart(2, "0")}`;
    return element("li", {}, button(minutes, play, { class: "button quiet small num" }), element("span", {}, text));
  }
}

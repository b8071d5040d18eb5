// How a run stands: what it waits for, for how long, how far it is, and what it cost in the end.

import { call } from "./api.js";
import { dollars, seconds } from "./figures.js";

const TURN_MS = 250;
const PHASES = {
  starting: "Starting the model",
  downloading: "Downloading the weights",
  loading: "Loading the model",
  running: "Working",
};

export class Standing {
  constructor() {
    this.box = document.getElementById("standing");
    this.phase = document.getElementById("phase");
    this.bar = document.getElementById("progress");
    this.receipt = document.getElementById("receipt");
    this.warmth = document.querySelectorAll("#warmth, .picker [aria-current] .badge");
  }

  begin() {
    this.began = performance.now();
    this.fraction = null;
    this.until = null;
    this.say("Sending");
    this.receipt.textContent = "";
    this.box.hidden = false;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.draw(), TURN_MS);
    this.draw();
  }

  // A state as the API tells it.
  state({ phase, queue_position: place, estimated_time_ms: left, downloaded }) {
    if (phase === "queued") this.say(place > 1 ? `Queued, position ${place}` : "Queued, next");
    else if (downloaded != null) this.say(`${PHASES.downloading} ${Math.round(downloaded * 100)} %`);
    else this.say(PHASES[phase] ?? phase);
    if (phase === "running") this.warm();
    this.expect(left);
  }

  // What a stream says of it before its first word, such as "loading, position 1, about 3 s".
  comment(text) {
    const [, phase, place, left] = text.match(/^(\w+)(?:, position (\d+))?(?:, about (\d+) s)?/) ?? [];
    if (phase) this.state({ phase, queue_position: Number(place), estimated_time_ms: left * 1000 });
  }

  say(words) {
    this.words = words;
    this.draw();
  }

  expect(left) {
    this.until = left > 0 ? performance.now() + left : null;
    this.draw();
  }

  progress(fraction) {
    this.fraction = fraction;
    this.warm();
    this.until = null;
    this.say(`${PHASES.running} ${Math.round(fraction * 100)} %`);
  }

  draw() {
    const now = performance.now();
    const left = this.until === null ? null : this.until - now;
    const soon = left > 500 ? `about ${Math.ceil(left / 1000)} s` : "any moment";
    const words = left === null ? this.words : `${this.words} · ${soon}`;
    // Said aloud only where it changes.
    if (this.phase.textContent !== words) this.phase.textContent = words;
    if (this.fraction !== null) this.bar.value = this.fraction;
    else if (left !== null) this.bar.value = Math.min(0.95, (now - this.began) / (this.until - this.began));
    else this.bar.removeAttribute("value");
  }

  warm() {
    for (const badge of this.warmth) {
      badge.textContent = "warm";
      badge.classList.add("ok");
    }
  }

  hide() {
    clearInterval(this.timer);
    this.box.hidden = true;
  }

  // What it came to, in USD, and what is left.
  async settle(cost, ...facts) {
    const took = seconds(performance.now() - this.began);
    this.hide();
    const parts = [`Cost ${dollars(cost)}`, took, ...facts];
    this.receipt.textContent = parts.join(" · ");
    const { available } = await call("balance");
    this.receipt.textContent = [...parts, `balance ${dollars(available)}`].join(" · ");
    const shown = document.querySelector(".balance b");
    if (shown) shown.textContent = dollars(available);
  }
}

// A model's page: the form, its price, a run and its end, what was made before, and the code.

import { ApiError, call } from "./api.js";
import { dollars } from "./figures.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import * as samples from "./samples.js";
import { Standing } from "./standing.js";
import { toast } from "./toast.js";

const QUOTE_MS = 400;
const about = JSON.parse(document.getElementById("about").textContent);
const price = document.getElementById("price");
const trouble = document.getElementById("trouble");
const runButton = document.getElementById("run");
const stopButton = document.getElementById("stop");

// What a kind needs beside the others' is loaded for it alone, before all else begins.
const MAKERS = { text: "chat", embedding: "vectors", transcription: "transcription" };
const { default: Maker } = await import(`./${MAKERS[about.kind] ?? "media"}.js`);

let quoting;
let quoted;
let timer;
const form = new Form(document.getElementById("form"), () => quoteSoon());
const standing = new Standing();
const maker = new Maker(about, form, standing);
const gallery = new Gallery(about.latest, (job) => maker.open(job));
maker.perform = perform;

// The price

function quoteSoon() {
  clearTimeout(timer);
  // What is asked already is of a form that is no more: it may complain of what was mended.
  quoting?.abort();
  timer = setTimeout(() => quote(), QUOTE_MS);
}

async function quote() {
  const body = maker.priced();
  const asked = JSON.stringify(body);
  if (asked === quoted) return;
  quoting?.abort();
  quoting = new AbortController();
  try {
    const { max_cost: cost } = await call("quote", { method: "POST", body: { route: about.route, body }, signal: quoting.signal });
    price.textContent = dollars(cost);
    quoted = asked;
  } catch (error) {
    if (error.name === "AbortError") return;
    price.textContent = "–";
    quoted = null;
    if (error instanceof ApiError && error.param) form.complain(fieldOf(error.param), error.message);
  }
}

// A run

async function perform(work) {
  if (runButton.disabled) return;
  trouble.hidden = true;
  form.clear();
  const malformed = form.malformed();
  if (malformed) {
    form.complain(malformed.name, "This must be a number.");
    malformed.focus();
    return;
  }
  turn(true);
  standing.begin();
  try {
    const job = await work();
    if (job) gallery.add(job);
  } catch (error) {
    if (error.name === "AbortError") standing.receipt.textContent = "Stopped. It costs nothing.";
    else refused(error);
  } finally {
    standing.hide();
    maker.idle();
    turn(false);
    quoteSoon();
  }
}

// One button or the other; whoever has pressed one stays there with the keyboard.
function turn(running) {
  const pressed = [runButton, stopButton].includes(document.activeElement);
  runButton.disabled = running;
  runButton.hidden = running;
  stopButton.hidden = !running;
  if (pressed) (running ? stopButton : runButton).focus({ preventScroll: true });
}

// The API's own sentence, beside the field that it names.
function refused(error) {
  const name = error.param ? fieldOf(error.param) : "";
  if (name && form.complain(name, error.message)) {
    form.focus(name);
    return;
  }
  const text = error instanceof ApiError ? error.message : "The server does not answer. Try again.";
  trouble.querySelector("p").textContent = text;
  trouble.hidden = false;
  const topUp = document.getElementById("top-up");
  if (topUp) topUp.hidden = error.status !== 402;
  trouble.scrollIntoView({ block: "nearest" });
}

// "body.messages.0.content" is the field "messages".
const fieldOf = (param) => param.replace(/^body\./, "").split(".")[0];

form.root.addEventListener("submit", (event) => {
  event.preventDefault();
  perform(() => maker.run());
});
stopButton.addEventListener("click", () => maker.stop());
document.addEventListener("keydown", (event) => {
  const elsewhere = document.querySelector("dialog[open], details.menu[open]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !elsewhere) {
    event.preventDefault();
    perform(() => maker.run());
  } else if (event.key === "Escape" && !elsewhere && !stopButton.hidden) {
    event.preventDefault();
    maker.stop();
  }
});

// The code

const code = document.getElementById("code");
const tabs = [...document.querySelectorAll("[data-language]")];

function write(language) {
  for (const tab of tabs) {
    const chosen = tab.dataset.language === language;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  const sides = ["width", "height"].map((name) => [name, form.input(name)?.dataset.default]);
  code.textContent = samples[language](about, maker.body(), Object.fromEntries(sides));
}

for (const tab of tabs) {
  tab.addEventListener("click", () => write(tab.dataset.language));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    write(next.dataset.language);
  });
}
document
  .querySelector('[data-dialog="code-dialog"]')
  .addEventListener("click", () => write(tabs.find((tab) => tab.getAttribute("aria-selected") === "true").dataset.language));

// Pictures and films that were being made when the page was left are made on.
const live = about.latest.find(({ state }) => state === "queued" || state === "running");
if (live && ["image", "video"].includes(about.kind)) perform(() => maker.follow(live.id));
addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof ApiError) {
    event.preventDefault();
    toast(event.reason.message, "bad");
  }
});
quote();

// What was made here lately, newest first; a click opens it again.

import { call } from "./api.js";
import { element, local } from "./elements.js";
import { dollars } from "./figures.js";

const MOST = 12;
const LENGTH = 200;

export class Gallery {
  constructor(latest, open) {
    this.list = document.getElementById("latest");
    this.nothing = document.getElementById("no-latest");
    this.open = open;
    this.list.append(...latest.filter(({ state }) => state === "succeeded").map((job) => this.item(job)));
    this.nothing.hidden = this.list.childElementCount > 0;
  }

  // A job as the API shows it.
  add(job) {
    const asked = job.request.prompt ?? job.request.text ?? job.request.inputs?.[0] ?? job.request.messages?.at(-1).content;
    const answer = job.result?.choices?.[0].text ?? job.result?.text;
    const cost = Math.round(job.cost * 1e6);
    this.list.prepend(this.item({ ...job, cost, asked: asked?.slice(0, LENGTH), answer: answer?.slice(0, LENGTH) }));
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
    this.nothing.hidden = true;
  }

  item({ id, cost, asked, answer, outputs }) {
    const words = asked ?? "";
    const show = async () => this.open(await call(`jobs/${id}`));
    const picture = outputs.find(({ media_type: type }) => type.startsWith("image/"));
    const inside = picture
      ? [element("img", { src: local(picture.url), alt: words, loading: "lazy" })]
      : [words ? element("span", { class: "asked" }, words) : null, answer ? element("span", { class: "muted" }, answer) : null];
    const title = `${words || answer} (${dollars(cost / 1e6)})`;
    return element("li", {}, element("button", { type: "button", class: picture ? "thumb" : "thumb words", title, onclick: show }, ...inside));
  }
}

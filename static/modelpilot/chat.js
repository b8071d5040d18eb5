// A conversation with a model, streamed; the whole of it goes with every request.

import { ApiError, call, request } from "./api.js";
import { copy } from "./clipboard.js";
import { button, element } from "./elements.js";
import { read } from "./events.js";
import { dollars, seconds } from "./figures.js";
import { prose } from "./prose.js";
import { toast } from "./toast.js";

// Answers that were cut short by who asked are answers too.
const CANCELLED = "cancelled";

export default class Chat {
  constructor(about, form, standing) {
    Object.assign(this, { about, form, standing });
    this.messages = [];
    this.list = document.getElementById("turns");
    this.nothing = document.getElementById("no-turns");
    document.getElementById("new-chat").addEventListener("click", () => this.restart());
  }

  // What would be sent now.
  body() {
    const { messages: text, ...values } = this.form.values();
    return this.request([...this.messages, { role: "user", content: text ?? "" }], values);
  }

  priced() {
    return this.body();
  }

  request(messages, { system, response_format: format, ...values }) {
    return {
      model: this.about.model,
      messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
      ...values,
      ...(format && { response_format: { type: format } }),
      stream: true,
    };
  }

  restart() {
    this.stop();
    this.messages = [];
    this.list.replaceChildren(this.nothing);
    this.standing.receipt.textContent = "";
    this.form.focus("messages");
    this.form.changed();
  }

  async run() {
    const input = this.form.input("messages");
    const text = input.value;
    if (!text.trim()) {
      this.form.complain("messages", "Write a message first.");
      this.form.focus("messages");
      return null;
    }
    const turn = this.show("user", text);
    input.value = "";
    this.messages.push({ role: "user", content: text });
    try {
      return await this.answer();
    } catch (error) {
      // Nothing was said: as if it had not been asked.
      if (this.messages.at(-1).role === "user") {
        this.messages.pop();
        turn.remove();
        input.value = text;
        if (!this.messages.length) this.list.replaceChildren(this.nothing);
      }
      throw error;
    }
  }

  // Asks for the last answer once more.
  again() {
    this.messages.pop();
    this.list.lastElementChild.remove();
    return this.answer();
  }

  async answer() {
    const { messages: _, ...values } = this.form.values();
    const body = this.request(this.messages, values);
    const turn = new Turn(this.show("assistant", ""), () => this.scroll());
    this.id = null;
    this.aborter = new AbortController();
    try {
      return await this.stream(body, turn);
    } finally {
      turn.finish();
      if (turn.text) this.messages.push({ role: "assistant", content: turn.text });
      else turn.root.remove();
    }
  }

  async stream(body, turn) {
    const sent = { ...body, stream_options: { include_usage: true } };
    const options = { method: "POST", body: sent, signal: this.aborter.signal };
    let particulars, usage, finish;
    try {
      for await (const event of read(await request(this.about.route, options))) {
        if (event.comment) this.standing.comment(event.comment);
        else if (event.data !== "[DONE]") {
          const chunk = JSON.parse(event.data);
          if (chunk.error) throw new ApiError(500, chunk.error);
          this.id = chunk.id;
          this.standing.warm();
          this.standing.say("Answering");
          this.standing.expect(0);
          const choice = chunk.choices[0];
          turn.add(choice?.delta ?? {});
          finish = choice?.finish_reason ?? finish;
          particulars = chunk.x_modelpilot ?? particulars;
          usage = chunk.usage ?? usage;
        }
      }
    } catch (error) {
      return await this.stopped(error, turn);
    }
    if (!particulars) throw new ApiError(500, { message: "The connection broke. See your jobs for what it cost." });
    const tokens = usage ? [`${usage.completion_tokens} tokens`] : [];
    const cut = finish === "length" ? ["cut at the longest answer"] : [];
    turn.close([dollars(particulars.cost), seconds(particulars.response_time_ms), ...tokens, ...cut], this.actions(turn));
    await this.standing.settle(particulars.cost, ...tokens);
    return call(`jobs/${particulars.job_id}`);
  }

  // Somebody pressed stop: it costs what was delivered, and says so.
  async stopped(error, turn) {
    const cancelled = error.code === CANCELLED;
    if (error.name !== "AbortError" && !(this.stopping && cancelled)) throw error;
    const cost = error.detail?.cost ?? 0;
    turn.close([dollars(cost), "stopped"], turn.text ? this.actions(turn) : []);
    await this.standing.settle(cost, "stopped");
    return null;
  }

  actions(turn) {
    const again = () => {
      if (this.list.lastElementChild === turn.root) this.perform(() => this.again());
      else toast("Only the last answer can be asked for again.");
    };
    return [button("Copy", () => copy(turn.text), { class: "button quiet small" }), button("Again", again, { class: "button quiet small" })];
  }

  stop() {
    if (!this.aborter) return;
    this.stopping = true;
    if (this.id) call(`jobs/${this.id}/cancel`, { method: "POST" }).catch((error) => toast(error.message, "bad"));
    else this.aborter.abort();
  }

  idle() {
    this.aborter = null;
    this.stopping = false;
  }

  // A conversation of before, to go on with.
  open(job) {
    const messages = job.request.messages ?? [];
    const said = job.result?.choices?.[0];
    const system = messages.filter(({ role }) => role === "system").map(({ content }) => content);
    this.restart();
    this.messages = messages.filter(({ role }) => role !== "system");
    for (const { role, content } of this.messages) {
      const turn = this.show(role, role === "user" ? content : "");
      if (role !== "user") new Turn(turn).take({ content });
    }
    if (said) {
      const turn = new Turn(this.show("assistant", ""));
      turn.take({ content: said.text, reasoning_content: said.reasoning });
      turn.close([dollars(job.cost)], this.actions(turn));
      this.messages.push({ role: "assistant", content: said.text });
    }
    this.form.fill({
      ...job.request,
      messages: "",
      system: system.join("\n"),
      stop: job.request.stop?.[0],
      response_format: job.request.response_format?.type,
    });
    this.scroll();
  }

  show(role, text) {
    this.nothing.remove();
    const turn = element("article", { class: `turn ${role}`, "aria-label": role === "user" ? "You" : this.about.model });
    if (role === "user") turn.append(element("p", {}, text));
    this.list.append(turn);
    this.list.scrollTop = this.list.scrollHeight;
    return turn;
  }

  scroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    // Whoever has scrolled up to read stays there.
    if (scrollHeight - scrollTop - clientHeight < 160) this.list.scrollTop = scrollHeight;
  }
}

// An answer as it comes: thoughts, folded away, and what is said.
class Turn {
  constructor(root, grown = () => {}) {
    this.root = root;
    this.grown = grown;
    this.text = "";
    this.thought = "";
    this.said = element("div", { class: "said" });
    this.thoughts = element("details", { class: "thoughts", hidden: true }, element("summary", {}, "Thoughts"), element("p", {}));
    root.append(this.thoughts, this.said);
  }

  add({ content, reasoning_content: thought }) {
    if (!content && !thought) return;
    this.text += content ?? "";
    this.thought += thought ?? "";
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  take(delta) {
    this.add(delta);
    this.finish();
  }

  draw() {
    this.frame = undefined;
    this.said.replaceChildren(prose(this.text));
    this.thoughts.hidden = !this.thought;
    this.thoughts.lastElementChild.textContent = this.thought;
    this.grown();
  }

  finish() {
    cancelAnimationFrame(this.frame);
    this.draw();
  }

  close(facts, actions) {
    const line = element("span", { class: "muted small" }, facts.join(" · "));
    this.root.append(element("footer", { class: "row" }, line, ...actions));
    this.finish();
  }
}

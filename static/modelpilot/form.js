// The form of a model: what it asks, what is wrong with that, and how to ask the same again.

import { toast } from "./toast.js";

export class Form {
  // `changed` is called whenever what is asked may be another.
  constructor(root, changed) {
    this.root = root;
    this.changed = changed;
    this.pictures = {};
    root.addEventListener("input", (event) => this.edited(event.target));
    root.addEventListener("change", (event) => this.picked(event.target));
    root.addEventListener("click", (event) => this.pressed(event.target.closest("button")));
    this.pressShape();
  }

  get inputs() {
    return [...this.root.querySelectorAll("[data-type]")];
  }

  input(name) {
    return this.root.querySelector(`[data-type][name="${name}"]`);
  }

  // What differs from what the server takes anyway, by the names of the request's body.
  values() {
    const found = {};
    for (const input of this.inputs) {
      const value = this.value(input);
      if (value !== undefined) found[input.name] = value;
    }
    return found;
  }

  value(input) {
    const { type, default: usual } = input.dataset;
    if (type === "picture") return this.pictures[input.name];
    if (type === "recording") return undefined;
    if (input.value === "" || input.value === usual) return undefined;
    if (type !== "number") return input.value;
    // A seed may have more digits than a number of JavaScript's; the server says so.
    const number = Number(input.value);
    return usual !== undefined && number === Number(usual) ? undefined : number;
  }

  // The first field whose content is no number, which the browser would not tell us.
  malformed() {
    return this.inputs.find((input) => input.validity.badInput);
  }

  fill(values) {
    for (const input of this.inputs) {
      if (["picture", "recording"].includes(input.dataset.type)) continue;
      const value = values[input.name] ?? input.dataset.default ?? "";
      input.value = value;
      this.slide(input);
    }
    this.clear();
    this.pressShape();
    this.changed();
  }

  setPicture(name, url) {
    const input = this.input(name);
    const shown = input.parentElement.querySelector("[data-picked]");
    if (url) this.pictures[name] = url;
    else {
      delete this.pictures[name];
      input.value = "";
    }
    shown.hidden = !url;
    shown.querySelector("img").src = url ?? "";
    if (url) this.unfold(input);
    this.clear(name);
    this.changed();
  }

  // Errors, beside the field that they name; false where there is no such field.
  complain(name, message) {
    const input = this.input(name);
    if (!input) return false;
    const list = input.closest(".field").querySelector("[data-wrong]");
    const line = document.createElement("li");
    line.textContent = message;
    list.replaceChildren(line);
    list.hidden = false;
    input.setAttribute("aria-invalid", "true");
    this.unfold(input);
    return true;
  }

  clear(name) {
    for (const input of this.inputs) {
      if (name && input.name !== name) continue;
      const list = input.closest(".field").querySelector("[data-wrong]");
      list.hidden = true;
      list.replaceChildren();
      input.removeAttribute("aria-invalid");
    }
  }

  focus(name) {
    this.input(name)?.focus();
  }

  unfold(input) {
    const folded = input.closest("details");
    if (folded) folded.open = true;
  }

  edited(target) {
    if (target.dataset.slides) {
      const input = document.getElementById(target.dataset.slides);
      input.value = target.value;
      this.clear(input.name);
    } else if (target.dataset.type) {
      this.slide(target);
      this.clear(target.name);
    }
    this.pressShape();
    this.changed();
  }

  slide(input) {
    const slider = this.root.querySelector(`[data-slides="${input.id}"]`);
    if (slider) slider.value = input.value;
  }

  picked(target) {
    if (target.dataset.type !== "picture" || !target.files.length) return;
    const reader = new FileReader();
    reader.addEventListener("load", () => this.setPicture(target.name, reader.result));
    reader.addEventListener("error", () => toast("The browser can't read this file.", "bad"));
    reader.readAsDataURL(target.files[0]);
  }

  pressed(button) {
    if (!button) return;
    if (button.dataset.width) {
      for (const name of ["width", "height"]) {
        const input = this.input(name);
        if (!input) continue;
        input.value = button.dataset[name];
        this.edited(input);
      }
    } else if (button.dataset.example) {
      const input = this.root.querySelector("[data-type]:is([name=messages], [name=prompt], [name=input])");
      input.value = button.dataset.example;
      this.edited(input);
      input.focus();
    } else if ("unpick" in button.dataset && button.closest(".field").querySelector("[data-type=picture]")) {
      this.setPicture(button.closest(".field").querySelector("input").name, null);
    } else if (button.dataset.seed) {
      this.input("seed").value = button.dataset.seed === "keep" ? this.lastSeed : "";
      this.edited(this.input("seed"));
    }
  }

  // The seed of what was made last can be kept.
  noteSeed(seed) {
    const keep = this.root.querySelector('[data-seed="keep"]');
    if (seed == null || !keep) return;
    this.lastSeed = seed;
    keep.disabled = false;
    keep.title = `Keep ${seed}`;
  }

  pressShape() {
    for (const shape of this.root.querySelectorAll("[data-width]")) {
      const same = ["width", "height"].every((name) => this.input(name)?.value === shape.dataset[name]);
      shape.setAttribute("aria-pressed", same);
    }
  }
}

// What a model has said, as elements: paragraphs, code in fences and in backticks, bold words.
// There is no markup in between, so there is nothing that could run.

import { element } from "./elements.js";

const FENCE = /^\s*```(.*)$/;
const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;
let blocks = 0;

export function prose(text) {
  const made = document.createDocumentFragment();
  let lines = [];
  let language = null;
  const flush = () => {
    const said = lines.join("\n");
    if (language !== null) made.append(code(said, language));
    else if (said.trim()) made.append(words(said.trim()));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const fence = line.match(FENCE);
    if (!fence) lines.push(line);
    else {
      flush();
      language = language === null ? fence[1].trim() : null;
    }
  }
  flush();
  return made;
}

function words(text) {
  const parts = text.split(INLINE).map((part, place) => {
    if (place % 2 === 0) return part;
    return part.startsWith("`")
      ? element("code", { class: "code-inline" }, part.slice(1, -1))
      : element("strong", {}, part.slice(2, -2));
  });
  return element("p", {}, ...parts);
}

function code(text, language) {
  const id = `said-${++blocks}`;
  return element(
    "div",
    { class: "code" },
    element(
      "div",
      { class: "code-head" },
      element("span", {}, language || "code"),
      element("button", { type: "button", class: "button quiet small", "data-copy": `#${id}` }, "Copy"),
    ),
    element("pre", { id, tabindex: "0" }, text),
  );
}

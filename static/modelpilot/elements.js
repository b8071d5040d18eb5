// Elements made in scripts: text is only ever text.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute.startsWith("on")) made.addEventListener(attribute.slice(2), value);
    else if (value === true) made.setAttribute(attribute, "");
    else if (value !== false && value != null) made.setAttribute(attribute, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// The same for pictures.
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

export const button = (label, onclick, attributes = {}) =>
  element("button", { type: "button", class: "button small", ...attributes, onclick }, label);

// Links of the API name the address that programs use; the page stays at its own.
export function local(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

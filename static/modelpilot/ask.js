// Asks before something that can't be undone, in a dialog of the page's own.

import { button, element } from "./elements.js";

// Whether the answer was yes. `pressed` is the button that wants it done, whose words the dialog's
// has too; Escape, the backdrop and Cancel say no.
export function ask(question, pressed) {
  const danger = pressed.classList.contains("danger");
  const words = element("p", { id: "question" }, question);
  const dialog = element("dialog", { class: "dialog ask", "aria-labelledby": "question" }, words);
  // Whoever presses Enter without reading destroys nothing.
  const cancel = button("Cancel", () => dialog.close(), { class: "button", autofocus: danger });
  const verb = pressed.textContent.trim();
  const agree = button(verb, () => dialog.close("yes"), { class: `button ${danger ? "danger" : "primary"}`, autofocus: !danger });
  dialog.append(element("div", { class: "actions" }, cancel, agree));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

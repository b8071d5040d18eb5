// Buttons that call the API: <button data-call="POST jobs/ID/cancel" data-ask="Sure?"
// data-then="/where/{id}">. `{id}` is the answer's; without data-then the page is loaded again.

import { request } from "./api.js";
import { ask } from "./ask.js";
import { toast } from "./toast.js";

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-call]");
  if (!button || (button.dataset.ask && !(await ask(button.dataset.ask, button)))) return;
  const [method, path] = button.dataset.call.split(" ");
  button.disabled = true;
  try {
    const response = await request(path, { method });
    const { id } = response.status === 204 ? {} : await response.json();
    location.assign((button.dataset.then ?? location.href).replace("{id}", id));
  } catch (error) {
    toast(error.message, "bad");
    button.disabled = false;
  }
});

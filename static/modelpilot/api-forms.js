// Forms that call the API: <form data-api="PATCH deployments/ID" data-ask="Sure?">. Fields become
// JSON by their types: checkboxes true or false, numbers numbers and null where empty, and
// data-type="json" what is written; a PATCH takes those that were changed, and hidden ones. The
// page is loaded again with what came of it.

import { request } from "./api.js";
import { ask } from "./ask.js";
import { toast } from "./toast.js";

const value = (field) => {
  if (field.type === "checkbox") return field.checked;
  if (field.type === "number") return field.value === "" ? null : Number(field.value);
  return field.dataset.type === "json" ? JSON.parse(field.value) : field.value;
};

const changed = (field) => {
  if (field.type === "hidden") return true;
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.tagName === "SELECT") return !field.selectedOptions[0].defaultSelected;
  return field.value !== field.defaultValue;
};

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  const button = event.submitter;
  if (form.dataset.ask && !(await ask(form.dataset.ask, button))) return;
  const [method, path] = form.dataset.api.split(" ");
  const named = [...form.elements].filter((field) => field.name);
  const fields = method === "PATCH" ? named.filter(changed) : named;
  const body = named.length ? Object.fromEntries(fields.map((field) => [field.name, value(field)])) : undefined;
  button.disabled = true;
  try {
    await request(path, { method, body });
    location.reload();
  } catch (error) {
    toast(error.message, "bad");
    button.disabled = false;
  }
});

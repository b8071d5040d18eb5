// What every page does by itself: theme, copying, dialogs, menus, local times, toasts.

import { copy } from "./clipboard.js";
import { dismissing, toast } from "./toast.js";

const on = (type, selector, act) =>
  document.addEventListener(type, (event) => {
    const target = event.target instanceof Element && event.target.closest(selector);
    if (target) act(target, event);
  });

// The server reads the cookie, so that a page never flashes in the other theme.
on("click", "[data-theme-toggle]", () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  root.dataset.theme = theme;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
});

on("click", "[data-copy]", async (button) => {
  const source = document.querySelector(button.dataset.copy);
  const text = source.value ?? source.textContent;
  if (!(await copy(text.trim()))) return;
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  label.textContent = "Copied";
  setTimeout(() => (label.textContent = before), 1500);
});

on("click", "[data-dialog]", (button) => document.getElementById(button.dataset.dialog).showModal());
on("click", "[data-close]", (button) => button.closest("dialog").close());
// A click on the backdrop is a click on the dialog itself.
on("click", "dialog.dialog", (dialog, event) => event.target === dialog && dialog.close());
// A form that asks first: <form data-confirm="Revoke this key?">
const agreed = new Set();
document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (!form.dataset.confirm || agreed.delete(form)) return;
  event.preventDefault();
  const { ask } = await import("./ask.js");
  if (!(await ask(form.dataset.confirm, submitter))) return;
  agreed.add(form);
  form.requestSubmit(submitter);
});

const closeMenus = (except) =>
  document.querySelectorAll("details.menu[open]").forEach((menu) => menu !== except && (menu.open = false));
document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector("details.menu[open]");
  closeMenus();
  open?.querySelector("summary").focus();
});

// On a phone not all tabs fit.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// In the reader's own time, which says UTC when it is pointed at; the year only where it is another.
const parts = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" };
const [near, far] = [parts, { year: "numeric", ...parts }].map((options) => new Intl.DateTimeFormat(undefined, options));
const year = new Date().getFullYear();
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    const moment = new Date(time.dateTime);
    time.textContent = (moment.getFullYear() === year ? near : far).format(moment);
  }
}
localTimes(document);
document.addEventListener("htmx:load", (event) => localTimes(event.detail.elt));

document.querySelectorAll(".toast").forEach(dismissing);
document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status === 401 || status === 403) toast("You are signed out, or may not do that. Load the page again.", "bad");
  else toast(`That did not work (${status}). Try again.`, "bad");
});
document.addEventListener("htmx:sendError", () => toast("The server does not answer. Try again.", "bad"));

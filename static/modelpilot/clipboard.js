// Copying, also on pages that came by http, where browsers have the older way only.

import { toast } from "./toast.js";

export async function copy(text) {
  if (navigator.clipboard && (await navigator.clipboard.writeText(text).then(() => true, () => false))) return true;
  const place = document.createElement("textarea");
  place.className = "visually-hidden";
  place.value = text;
  // Inside of an open dialog, since nothing outside of it can be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(place);
  const before = document.activeElement;
  place.select();
  const copied = document.execCommand("copy");
  place.remove();
  before?.focus({ preventScroll: true });
  if (!copied) toast("The browser does not let us copy. Select the text and copy it.", "bad");
  return copied;
}

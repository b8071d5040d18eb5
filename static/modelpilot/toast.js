// Short messages in the corner; those of Django are in the page already.

export function toast(text, kind = "info") {
  const item = document.createElement("div");
  item.className = `toast ${kind}`;
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.setAttribute("aria-label", "Dismiss");
  close.textContent = "✕";
  item.append(words, close);
  document.querySelector(".toasts").append(item);
  dismissing(item);
}

// Bad news stay until somebody has read them.
export function dismissing(item) {
  item.querySelector("button").addEventListener("click", () => item.remove());
  if (!item.matches(".bad, .error, .warning")) setTimeout(() => item.remove(), 6000);
}

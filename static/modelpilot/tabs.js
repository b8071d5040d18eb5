// <div role="tablist"><button role="tab" aria-controls="PANEL" aria-selected="true">…, and panels
// of which all but one are hidden. Arrows move, as in a desktop's tabs.

function choose(tab) {
  for (const other of tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
}

const tabOf = (event) => event.target instanceof Element && event.target.closest('[role="tab"]');

document.addEventListener("click", (event) => {
  const tab = tabOf(event);
  if (tab) choose(tab);
});
document.addEventListener("keydown", (event) => {
  const tab = tabOf(event);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!tab || !step) return;
  const tabs = [...tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')];
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  choose(next);
  next.focus();
});

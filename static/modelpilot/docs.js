// The language of one sample is that of all, on this page and the next. On a phone the contents
// are closed until they are wanted.

const chosen = "docs-language";

function choose(language) {
  for (const tab of document.querySelectorAll(`[data-language="${language}"][aria-selected="false"]`)) tab.click();
}

document.addEventListener("click", (event) => {
  const tab = event.target instanceof Element && event.target.closest("[data-language]");
  if (!tab) return;
  const before = tab.getBoundingClientRect().top;
  choose(tab.dataset.language);
  // Samples above may have changed their height.
  scrollBy(0, tab.getBoundingClientRect().top - before);
  localStorage.setItem(chosen, tab.dataset.language);
});

const language = localStorage.getItem(chosen);
if (/^[a-z]+$/.test(language ?? "")) choose(language);
if (matchMedia("(max-width: 860px)").matches) document.querySelector(".docs-menu").open = false;

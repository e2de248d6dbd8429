// What Gradio does not do by itself in the tab of clips.

// Gradio answers a file of another kind with a list of MIME types. The page has a sentence for it,
// which a hidden button of Gradio's fetches.
for (const kind of ["drop", "change"]) {
  document.addEventListener(kind, (event) => {
    const { target } = event;
    if (!target.closest("#e2v-audio") || (kind === "change" && target.type !== "file")) return;
    const files = [...(event.dataTransfer ?? target).files];
    if (!files.length || files.some(({ type }) => type.startsWith("audio/"))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (kind === "change") target.value = "";
    else target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
    document.querySelector("#e2v-refused").click();
  }, { capture: true });
}

// On a phone the answer comes below the form, where one does not see it.
const coming = new MutationObserver(() => {
  const answer = document.querySelector("#e2v-panel :is(.e2v-result, .e2v-error)");
  if (!answer) return;
  coming.disconnect();
  if (answer.getBoundingClientRect().top < window.innerHeight / 2) return;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  answer.scrollIntoView({ behavior: still ? "instant" : "smooth" });
});
document.addEventListener("click", ({ target }) => {
  if (!target.closest("#e2v-recognise")) return;
  coming.disconnect();
  coming.observe(document.querySelector("#e2v-panel"), { childList: true, subtree: true });
});

// The language switch keeps the result that is on the screen.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.e2v-switch");
  const result = document.querySelector(".e2v-result");
  if (link && result) {
    const target = new URL(link.href);
    target.searchParams.set("show", result.dataset.folder);
    link.href = target.href;
  }
});

// The language switch keeps what is on the screen: a clip's result, or a recording's job.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.e2v-switch");
  if (!link) return;
  const target = new URL(link.href);
  const result = document.querySelector(".e2v-result");
  const job = new URL(window.location).searchParams.get("job");
  if (result?.dataset.folder) target.searchParams.set("show", result.dataset.folder);
  if (job) target.searchParams.set("job", job);
  link.href = target.href;
});

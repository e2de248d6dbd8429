// Gradio gives each radio button a name of its own, so that the arrow keys lead nowhere and screen
// readers count "1 of 1". The buttons of one question get one name.
document.addEventListener("focusin", ({ target }) => {
  if (target.type !== "radio") return;
  const group = target.closest("label").parentElement;
  const radios = group.querySelectorAll("input[type=radio]");
  for (const radio of radios) radio.name = radios[0].name;
});

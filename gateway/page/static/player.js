// A waveform with a picture below it, of the same width, and its player. wavesurfer draws
// the waveform, plays, seeks, zooms and scrolls; it knows nothing of the keyboard and screen readers,
// and its axis has no steps below a second.
import { clock, legend, node } from "./common.js";
import Hover from "./vendor/hover.esm.js";
import WaveSurfer from "./vendor/wavesurfer.esm.js";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
const TICK_PIXELS = 64;
const AXIS = "position:relative;height:1.3rem;font-size:.75rem;opacity:.8;pointer-events:none";

// Options are wavesurfer's, and: picture, an SVG; description, for screen readers; words;
// at(second), one line about a moment; near(second), several for the pointer.
export function player(parent, { picture, description, words, at, near = at, ...options }) {
  const { duration } = options;
  const plot = node("div", {
    class: "e2v-plot", tabindex: 0, role: "slider", "aria-label": description,
    "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2), "aria-valuenow": 0,
  }, parent);
  // Shows the same to sighted keyboard users.
  const here = node("div", { class: "e2v-here", "aria-hidden": "true" }, parent);
  legend(parent, words);
  const audio = node("audio", { controls: "", preload: "metadata", hidden: "" }, parent);
  const { color } = getComputedStyle(plot);
  const waves = WaveSurfer.create({
    container: plot, media: audio, normalize: true, waveColor: color, progressColor: color,
    cursorColor: color, cursorWidth: 2, ...options,
  });
  const inner = waves.getWrapper();
  inner.style.cursor = "pointer";
  inner.append(picture);
  const axis = node("div", { class: "e2v-axis", style: AXIS, "aria-hidden": "true" }, inner);
  waves.registerPlugin(Hover.create({
    lineColor: color, labelSize: 13, labelColor: "#fff", labelBackground: "#222",
    formatTimeCallback: near,
  }));

  function ticks() {
    const most = inner.clientWidth / TICK_PIXELS;
    const step = STEPS.find((seconds) => duration / seconds <= most) ?? STEPS.at(-1);
    axis.replaceChildren();
    for (let tick = 0; !tick || tick * step < duration; tick += 1) {
      const style = `position:absolute;left:${(100 * tick * step) / duration}%;` +
        "border-left:1px solid;padding-left:.2rem;white-space:nowrap";
      node("span", { style }, axis).textContent = clock(tick * step, step < 1 ? 1 : 0);
    }
    // The last tick may have no room for its label.
    const last = axis.lastChild;
    if (last.offsetLeft && last.offsetLeft + last.offsetWidth > inner.clientWidth) last.remove();
  }

  function moved(second) {
    plot.setAttribute("aria-valuenow", second.toFixed(2));
    here.textContent = at(second);
    plot.setAttribute("aria-valuetext", here.textContent);
  }

  waves.on("redraw", ticks);
  waves.on("timeupdate", moved);
  plot.addEventListener("keydown", (event) => {
    if (event.key !== " " || audio.hidden) return;
    event.preventDefault();
    waves.playPause();
  });
  ticks();
  moved(0);
  return { waves, plot, audio };
}

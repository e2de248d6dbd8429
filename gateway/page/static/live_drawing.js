// The last half minute of a stream: its waveform, and the emotions of what is measured below it.
import { NAMES } from "./common.js";

const SHOWN_SECONDS = 30;
export const PEAK_SECONDS = 0.096;

// Draws until it is stopped. The stream has seconds, peaks, segments and an interim one.
export function drawing(canvas, stream) {
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const colours = NAMES.map((name) => style.getPropertyValue(`--e2v-${name}`));
  let next = null;

  function draw() {
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    context.clearRect(0, 0, width, height);
    const first = Math.max(0, stream.seconds - SHOWN_SECONDS);
    const at = (second) => ((second - first) * width) / SHOWN_SECONDS;
    const wave = height / 3;
    context.fillStyle = style.color;
    stream.peaks.slice(Math.floor(first / PEAK_SECONDS)).forEach((peak, number) => {
      const left = at((Math.floor(first / PEAK_SECONDS) + number) * PEAK_SECONDS);
      const size = Math.max(scale, peak * wave);
      context.fillRect(left, (wave - size) / 2, Math.max(1, width / SHOWN_SECONDS * PEAK_SECONDS - scale), size);
    });
    const measured = stream.interim ? [...stream.segments, stream.interim] : stream.segments;
    for (const part of measured) {
      const { start, end, scores } = part;
      if (end < first) continue;
      // It may still change.
      context.globalAlpha = part === stream.interim ? 0.5 : 1;
      let floor = height;
      NAMES.forEach((name, number) => {
        const size = scores[name] * (height - wave - 4 * scale);
        context.fillStyle = colours[number];
        context.fillRect(at(start), floor - size, at(end) - at(start), size);
        floor -= size;
      });
    }
    context.globalAlpha = 1;
    next = requestAnimationFrame(draw);
  }

  draw();
  return { stop: () => cancelAnimationFrame(next) };
}

// A recording's waveform with its emotions below, as wide as it is long; a click plays a segment.
import { NAMES, legend, node, picture } from "./common.js";

const WAVE = 80;
const RIVER = 160;
const MOST_COLUMNS = 4000;
const TICKS = 6;

// Draws a result into a parent. Returns { play, listen, onSegment }: plays from a second on, to
// another one if that is given; takes the sound's address; is told of the segment that is heard.
export function river(parent, result, words, clock) {
  const { duration, segments } = result;
  const controls = node("div", { class: "e2v-controls" }, parent);
  const zoomLabel = node("label", {}, controls);
  zoomLabel.append(`${words.zoom} `);
  // A hundred seconds fill the width at the most.
  const most = Math.max(1, Math.round(duration / 100));
  const zoom = node("input", { type: "range", min: 1, max: most, step: 0.5, value: 1 }, zoomLabel);
  zoom.disabled = most === 1;
  const box = node("div", { class: "e2v-scroll" }, parent);
  const plot = node("div", {
    class: "e2v-plot", tabindex: 0, role: "slider", "aria-label": words.description,
    "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2), "aria-valuenow": 0,
  }, box);
  drawWave(picture(duration, WAVE, "e2v-wave", plot), result);
  drawRiver(picture(duration, RIVER, "e2v-river", plot), segments);
  const mark = node("div", { class: "e2v-mark", hidden: "" }, plot);
  const cursor = node("div", { class: "e2v-cursor" }, plot);
  const axis = node("div", { class: "e2v-axis", "aria-hidden": "true" }, plot);
  legend(parent, words);
  const audio = node("audio", { controls: "", preload: "metadata", hidden: "" }, parent);
  const note = node("small", {}, parent);
  note.textContent = words.unheard;

  const made = { play, listen, onSegment: () => {} };
  let until = Infinity;
  let heard = null;

  function listen(address) {
    audio.src = address;
    audio.hidden = false;
    note.textContent = words.hint;
  }

  function play(start, end = Infinity) {
    moveTo(start);
    if (audio.hidden) return;
    until = end;
    audio.currentTime = start;
    // Where it cannot be played, the element's error says so.
    audio.play().catch(() => {});
  }

  function segmentAt(second) {
    // Windows may overlap: the last that has begun is the one that is seen.
    const found = segments.findLastIndex((segment) => segment.start <= second + 0.01);
    return found >= 0 && second < segments[found].end ? found : null;
  }

  function moveTo(second) {
    cursor.style.left = `${(100 * second) / duration}%`;
    plot.setAttribute("aria-valuenow", second.toFixed(2));
    const number = segmentAt(second);
    const segment = number === null ? null : segments[number];
    plot.setAttribute("aria-valuetext", segment
      ? `${clock(second)}: ${words.labels[segment.emotion][1]} ${(100 * segment.confidence).toFixed(0)} %`
      : clock(second));
    if (number === heard) return;
    heard = number;
    mark.hidden = segment === null;
    if (segment) {
      mark.style.left = `${(100 * segment.start) / duration}%`;
      mark.style.width = `${(100 * (segment.end - segment.start)) / duration}%`;
    }
    made.onSegment(number);
  }

  function playSegment(number) {
    if (number >= 0 && number < segments.length) play(segments[number].start, segments[number].end);
  }

  function ticks() {
    axis.replaceChildren();
    const count = Math.round(TICKS * zoom.value);
    for (let tick = 0; tick <= count; tick += 1) {
      node("span", {}, axis).textContent = clock((duration * tick) / count);
    }
  }

  zoom.addEventListener("input", () => {
    const middle = (box.scrollLeft + box.clientWidth / 2) / plot.offsetWidth;
    plot.style.width = `${100 * zoom.value}%`;
    box.scrollLeft = middle * plot.offsetWidth - box.clientWidth / 2;
    ticks();
  });
  plot.addEventListener("click", (event) => {
    const frame = plot.getBoundingClientRect();
    const second = ((event.clientX - frame.left) / frame.width) * duration;
    const number = segmentAt(second);
    if (number === null) play(second);
    else playSegment(number);
  });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined || !segments.length) return;
    event.preventDefault();
    const now = Number(plot.getAttribute("aria-valuenow"));
    const next = segments.findIndex((segment) => segment.start > now + 0.01);
    const after = next < 0 ? segments.length : next;
    const current = segmentAt(now);
    playSegment(step > 0 ? after : (current ?? after) - 1);
  });
  const follow = () => {
    if (audio.currentTime >= until) {
      audio.pause();
      until = Infinity;
      return;
    }
    moveTo(audio.currentTime);
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", () => moveTo(audio.currentTime));
  audio.addEventListener("error", () => {
    audio.hidden = true;
    note.textContent = words.unplayable;
  });
  ticks();
  return made;
}

function drawWave(svg, { peaks, peak_hop: hop }) {
  const loudest = peaks.reduce((most, peak) => Math.max(most, peak), 0.01);
  const step = Math.max(1, Math.ceil(peaks.length / MOST_COLUMNS));
  const middle = WAVE / 2;
  let above = `M0 ${middle}`;
  let below = "";
  for (let first = 0; first < peaks.length; first += step) {
    const peak = Math.max(...peaks.slice(first, first + step)) / loudest;
    const height = Math.max(peak * middle, 0.5);
    const [from, to] = [(first * hop).toFixed(2), ((first + step) * hop).toFixed(2)];
    above += `V${(middle - height).toFixed(1)}H${to}`;
    below = `V${(middle + height).toFixed(1)}H${from}${below}`;
  }
  node("svg:path", { d: `${above}V${middle}${below}Z`, fill: "currentColor" }, svg);
}

function drawRiver(svg, segments) {
  const floors = segments.map(() => RIVER);
  for (const name of NAMES) {
    let path = "";
    segments.forEach((segment, number) => {
      const next = segments[number + 1]?.start ?? Infinity;
      const end = Math.min(segment.end, next);
      const top = floors[number] - segment.scores[name] * RIVER;
      path += `M${segment.start} ${floors[number].toFixed(2)}V${top.toFixed(2)}H${end}V${floors[number].toFixed(2)}Z`;
      floors[number] = top;
    });
    node("svg:path", { d: path, fill: `var(--e2v-${name})` }, svg);
  }
}

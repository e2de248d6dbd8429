// <emotion-frames result=JSON audio=URL words=JSON>: emotion over time, below the
// waveform if the server or the visitor still has the audio.
import { NAMES, labelled, node, percent, picture } from "./common.js";
import { player } from "./player.js";

const WIDTH = 1000;
const CHART = 208;
const WAVE = 52;
// More points than pixels would only be slow.
const MOST_POINTS = 1000;
const KEYS = { ArrowRight: 0.1, ArrowLeft: -0.1, ArrowUp: 1, ArrowDown: -1, Home: -1e9, End: 1e9 };

// Mean over `width` frames around each, in linear time.
function smooth(values, width) {
  const half = Math.floor(width / 2);
  if (!half) return values;
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, i) => {
    const from = Math.max(0, i - half);
    const to = Math.min(values.length, i + half + 1);
    return (sums[to] - sums[from]) / (to - from);
  });
}

class EmotionFrames extends HTMLElement {
  connectedCallback() {
    this.words = JSON.parse(this.getAttribute("words"));
    const result = JSON.parse(this.getAttribute("result"));
    this.hop = result.frame_hop;
    this.duration = result.duration;
    this.scores = result.frame_scores;
    this.controls();
    this.chart = picture(WIDTH, CHART, CHART, "e2v-chart");
    this.draw();
    this.listen(this.getAttribute("audio"));
  }

  disconnectedCallback() {
    this.waves.destroy();
    this.replaceChildren();
  }

  controls() {
    const { words } = this;
    const controls = node("div", { class: "e2v-controls" }, this);
    this.kind = node("select", {}, labelled(controls, words.chart));
    for (const kind of ["stacked", "lines"]) {
      node("option", { value: kind }, this.kind).textContent = words[kind];
    }
    const field = labelled(controls, words.smoothing);
    this.smoothing = node("input", { type: "range", min: 0, max: 2, step: 0.1, value: 0.3 }, field);
    this.smoothingValue = node("output", {}, field);
    this.kind.addEventListener("change", () => this.draw());
    this.smoothing.addEventListener("input", () => this.draw());
  }

  listen(url) {
    const { duration, words } = this;
    const silent = { peaks: [[0, 0]], height: 1 };
    const { waves, plot, audio } = player(this, {
      ...(url ? { url, height: WAVE } : silent),
      duration, words, picture: this.chart, description: words.description, dragToSeek: true,
      at: (second) => this.at(second, 1), near: (second) => this.at(second, 4),
    });
    this.waves = waves;
    if (url) {
      const hint = node("small", {}, this);
      waves.on("ready", () => {
        audio.hidden = false;
        hint.textContent = words.hint;
      });
      // The visitor's own file may be one that this browser cannot play.
      waves.once("error", () => waves.setOptions({ ...silent, duration }));
    }
    waves.on("click", () => { if (!audio.hidden) waves.play(); });
    plot.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      const second = waves.getCurrentTime() + KEYS[event.key];
      waves.setTime(Math.min(Math.max(second, 0), duration));
    });
  }

  // The strongest emotions of a moment. A frame's middle is 12.5 ms after its start: far less than a
  // pixel shows.
  at(second, count) {
    const frame = Math.min(Math.round(second / this.hop), this.shown[NAMES[0]].length - 1);
    const scores = NAMES.map((name) => [name, this.shown[name][frame]]);
    const lines = scores.sort((a, b) => b[1] - a[1]).slice(0, count).map(([name, score]) =>
      `${this.words.labels[name].join(" ")} ${percent(score)}`);
    const time = `${second.toFixed(2)} ${this.words.seconds}`;
    return count === 1 ? `${time}: ${lines[0]}` : [time, ...lines].join("\n");
  }

  draw() {
    const seconds = Number(this.smoothing.value);
    this.smoothingValue.textContent = `${seconds.toFixed(1)} ${this.words.seconds}`;
    this.shown = {};
    for (const name of NAMES) this.shown[name] = smooth(this.scores[name], seconds / this.hop);
    const count = this.shown[NAMES[0]].length;
    const step = Math.max(1, Math.ceil(count / MOST_POINTS));
    const frames = [];
    for (let frame = 0; frame < count; frame += step) frames.push(frame);
    // Even a single frame is drawn across the whole width.
    const x = (frame) =>
      Math.min((frame * this.hop / this.duration) * WIDTH, WIDTH).toFixed(1);
    const y = (value) => ((1 - value) * CHART).toFixed(1);
    const ends = (points, last) => [...points, [String(WIDTH), last]];
    this.chart.replaceChildren();
    if (this.kind.value === "lines") {
      for (const name of NAMES) {
        const points = frames.map((frame) => [x(frame), y(this.shown[name][frame])]);
        node("svg:polyline", {
          points: ends(points, points[points.length - 1][1]).join(" "),
          fill: "none", stroke: `var(--e2v-${name})`, "stroke-width": 2,
          "vector-effect": "non-scaling-stroke",
        }, this.chart);
      }
      return;
    }
    let floor = frames.map(() => 0);
    for (const name of NAMES) {
      const top = frames.map((frame, i) => floor[i] + this.shown[name][frame]);
      const edge = (heights) => {
        const points = frames.map((frame, i) => [x(frame), y(Math.min(heights[i], 1))]);
        return ends(points, points[points.length - 1][1]);
      };
      node("svg:polygon", {
        points: [...edge(top), ...edge(floor).reverse()].join(" "), fill: `var(--e2v-${name})`,
      }, this.chart);
      floor = top;
    }
  }
}

customElements.define("emotion-frames", EmotionFrames);

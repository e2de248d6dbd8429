// <emotion-timeline result=URL audio=URL words=JSON>: emotion over time, above the sound it
// belongs to. Time runs over the same width in the waveform and in the chart; a click plays.
import { NAMES, label, legend, node, picture } from "./common.js";

const WIDTH = 1000;
const CHART = 260;
const WAVE = 60;
// More points than pixels would only be slow.
const MOST_POINTS = 1000;

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

class EmotionTimeline extends HTMLElement {
  async connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.words = JSON.parse(this.getAttribute("words"));
    const result = await (await fetch(this.getAttribute("result"))).json();
    this.hop = result.frame_hop;
    this.duration = result.duration;
    this.scores = result.frame_scores;
    this.build();
    this.draw();
    await this.drawWave();
  }

  build() {
    const words = this.words;
    const controls = node("div", { class: "e2v-controls" }, this);
    const kindLabel = node("label", {}, controls);
    kindLabel.append(`${words.chart} `);
    this.kind = node("select", {}, kindLabel);
    for (const kind of ["stacked", "lines"]) {
      node("option", { value: kind }, this.kind).textContent = words[kind];
    }
    const smoothLabel = node("label", {}, controls);
    smoothLabel.append(`${words.smoothing} `);
    this.smoothing = node(
      "input", { type: "range", min: 0, max: 2, step: 0.1, value: 0.3 }, smoothLabel,
    );
    this.smoothingValue = node("output", {}, smoothLabel);

    this.plot = node("div", {
      class: "e2v-plot", tabindex: 0, role: "slider", "aria-label": words.description,
      "aria-valuemin": 0, "aria-valuemax": this.duration.toFixed(2), "aria-valuenow": 0,
    }, this);
    this.wave = picture(WIDTH, WAVE, "e2v-wave", this.plot);
    this.chart = picture(WIDTH, CHART, "e2v-chart", this.plot);
    this.cursor = node("div", { class: "e2v-cursor" }, this.plot);
    this.values = node("div", { class: "e2v-values", hidden: "" }, this.plot);
    const axis = node("div", { class: "e2v-axis", "aria-hidden": "true" }, this);
    for (let tick = 0; tick <= 4; tick += 1) {
      const second = (this.duration * tick) / 4;
      node("span", {}, axis).textContent = `${second.toFixed(1)} ${words.seconds}`;
    }
    legend(this, words);
    this.audio = node(
      "audio", { controls: "", preload: "metadata", src: this.getAttribute("audio") }, this,
    );
    node("small", {}, this).textContent = words.hint;

    this.kind.addEventListener("change", () => this.draw());
    this.smoothing.addEventListener("input", () => this.draw());
    this.plot.addEventListener("pointermove", (event) => this.show(this.secondAt(event)));
    this.plot.addEventListener("pointerleave", () => { this.values.hidden = true; });
    this.plot.addEventListener("click", (event) => {
      this.audio.currentTime = this.secondAt(event);
      this.audio.play();
    });
    this.plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 0.1, ArrowLeft: -0.1, ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const second = this.audio.currentTime + step;
      this.audio.currentTime = Math.min(Math.max(second, 0), this.duration);
    });
    const follow = () => {
      this.moveTo(this.audio.currentTime);
      if (!this.audio.paused) requestAnimationFrame(follow);
    };
    this.audio.addEventListener("play", follow);
    this.audio.addEventListener("seeked", () => {
      this.moveTo(this.audio.currentTime);
      this.show(this.audio.currentTime);
    });
  }

  secondAt(event) {
    const box = this.plot.getBoundingClientRect();
    return (Math.min(Math.max(event.clientX - box.left, 0), box.width) / box.width) * this.duration;
  }

  moveTo(second) {
    this.cursor.style.left = `${(100 * second) / this.duration}%`;
    this.plot.setAttribute("aria-valuenow", second.toFixed(2));
  }

  // A frame's middle is 12.5 ms after its start: far less than a pixel shows.
  frameAt(second) {
    return Math.min(Math.round(second / this.hop), this.shown[NAMES[0]].length - 1);
  }

  show(second) {
    const frame = this.frameAt(second);
    const rows = NAMES.map((name) => [name, this.shown[name][frame]]).sort((a, b) => b[1] - a[1]);
    this.values.replaceChildren();
    node("b", {}, this.values).textContent = `${second.toFixed(2)} ${this.words.seconds}`;
    for (const [name, score] of rows.slice(0, 4)) {
      const row = node("div", {}, this.values);
      node("i", { style: `background:var(--e2v-${name})` }, row);
      label(row, this.words, name);
      row.append(` ${(100 * score).toFixed(1)} %`);
    }
    const share = second / this.duration;
    this.values.style.left = share < 0.5 ? `calc(${100 * share}% + 8px)` : "auto";
    this.values.style.right = share < 0.5 ? "auto" : `calc(${100 * (1 - share)}% + 8px)`;
    this.values.hidden = false;
    const [[best, score]] = rows;
    this.plot.setAttribute(
      "aria-valuetext",
      `${second.toFixed(2)} ${this.words.seconds}: ${this.words.labels[best][1]} ` +
        `${(100 * score).toFixed(0)} %`,
    );
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
    // One frame is a line across, too.
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

  async drawWave() {
    const data = await (await fetch(this.getAttribute("audio"))).arrayBuffer();
    const context = new OfflineAudioContext(1, 1, 16000);
    const samples = (await context.decodeAudioData(data)).getChannelData(0);
    const columns = Math.min(WIDTH, samples.length);
    let peak = 1e-9;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    let path = "";
    for (let column = 0; column < columns; column += 1) {
      const from = Math.floor((column * samples.length) / columns);
      const to = Math.floor(((column + 1) * samples.length) / columns);
      let low = 0;
      let high = 0;
      for (let i = from; i < to; i += 1) {
        low = Math.min(low, samples[i]);
        high = Math.max(high, samples[i]);
      }
      const middle = WAVE / 2;
      const at = ((column * WIDTH) / columns).toFixed(1);
      path += `M${at} ${(middle - (high / peak) * middle).toFixed(1)}` +
        `L${at} ${(middle - (low / peak) * middle + 0.5).toFixed(1)}`;
    }
    node("svg:path", { d: path, stroke: "currentColor", "stroke-width": 1 }, this.wave);
  }
}

customElements.define("emotion-timeline", EmotionTimeline);

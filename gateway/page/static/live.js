// <emotion-live words=JSON>: the microphone goes to /api/stream/, and measurements come back while
// one speaks. When it stops, they are shown as a timeline, with the sound that was recorded here.
import { alert, button, decisions, node, percent } from "./common.js";
import { drawResult } from "./timeline_result.js";
import { drawing, PEAK_SECONDS } from "./live_drawing.js";

const API = "/api/stream/";
const MOST_RATE = 48000;

class EmotionLive extends HTMLElement {
  connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.words = JSON.parse(this.getAttribute("words"));
    const { words } = this;
    const controls = node("div", { class: "e2v-controls" }, this);
    this.start = button(controls, words.start, () => this.listen(), "e2v-button e2v-primary");
    this.stop = button(controls, words.stop, () => this.finish());
    this.stop.disabled = true;
    this.note = node("small", {}, this);
    this.note.textContent = words.limits;
    this.trouble = node("div", {}, this);
    this.live = node("div", { hidden: "" }, this);
    this.now = node("div", { class: "e2v-top", "aria-live": "polite" }, this.live);
    this.picture = node("canvas", { class: "e2v-live", role: "img", "aria-label": words.description }, this.live);
    this.result = node("article", { class: "e2v-timeline" }, this);
  }

  disconnectedCallback() {
    this.release();
    this.socket?.close();
  }

  async listen() {
    this.trouble.replaceChildren();
    this.drawn?.destroy();
    this.drawn = null;
    this.result.replaceChildren();
    this.start.disabled = true;
    Object.assign(this, { blocks: [], peaks: [], segments: [], samples: 0, largest: 0, counted: 0, interim: null, sent: -1 });
    try {
      this.media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
      await this.record();
    } catch (error) {
      this.release();
      this.fail({ code: "no_microphone", detail: String(error) });
      return;
    }
    const address = new URL(API, window.location);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    this.socket = socket;
    this.socket.addEventListener("open", () => {
      const session = { encoding: "s16le", rate: this.context.sampleRate, interval: 1 };
      this.socket.send(JSON.stringify({ type: "session.update", session }));
      this.sent = 0;
      this.flush();
      this.stop.disabled = false;
      this.live.hidden = false;
      this.drawing = drawing(this.picture, this);
      this.show(null, this.words.listening);
    });
    this.socket.addEventListener("message", ({ data }) => this.received(JSON.parse(data)));
    this.socket.addEventListener("close", () => { if (socket === this.socket) this.lost(); });
  }

  // The microphone's own rate, where a stream takes it: one resampling less.
  async record() {
    this.context = new AudioContext();
    if (this.context.sampleRate > MOST_RATE) {
      await this.context.close();
      this.context = new AudioContext({ sampleRate: MOST_RATE });
    }
    await this.context.audioWorklet.addModule(new URL("./live_worklet.js", import.meta.url));
    const source = this.context.createMediaStreamSource(this.media);
    const recorder = new AudioWorkletNode(this.context, "e2v-recorder", { numberOfOutputs: 0 });
    recorder.port.addEventListener("message", ({ data }) => this.heard(data));
    recorder.port.start();
    source.connect(recorder);
  }

  heard(block) {
    // The last blocks may come when the microphone is off already.
    if (!this.media) return;
    this.blocks.push(block);
    if (this.sent >= 0) this.flush();
    const size = Math.round(PEAK_SECONDS * this.context.sampleRate);
    for (const sample of block) {
      this.largest = Math.max(this.largest, Math.abs(sample) / 32768);
      this.counted += 1;
      if (this.counted === size) {
        this.peaks.push(this.largest);
        this.largest = 0;
        this.counted = 0;
      }
    }
    this.samples += block.length;
  }

  // Sends what the microphone heard, also while the connection was not there yet.
  flush() {
    for (; this.sent < this.blocks.length; this.sent += 1) this.socket.send(this.blocks[this.sent]);
  }

  get seconds() {
    return this.samples / this.context.sampleRate;
  }

  received(message) {
    if (message.type === "measurement") this.measured(message);
    else if (message.type === "speech.started") this.turn(true);
    else if (message.type === "speech.ended") this.turn(false);
    else if (message.type === "session.closed") this.closed(message);
    else if (message.type === "error") this.tell(message);
  }

  measured({ kind, start, end, speech, result }) {
    this.latest = result;
    const part = { ...result, start: start / 1000, end: end / 1000, speech };
    this.interim = kind === "interim" ? part : null;
    if (kind === "final") this.segments.push(part);
    this.turn(this.speaking);
  }

  turn(speaking) {
    this.speaking = speaking;
    this.show(this.latest, speaking ? this.words.speaking : this.words.listening);
  }

  show(result, state) {
    const { words } = this;
    this.now.replaceChildren();
    const icon = node("span", { class: "e2v-emoji e2v-icon", "aria-hidden": "true" }, this.now);
    icon.textContent = result ? words.labels[result.emotion][0] : "🎙";
    const facts = node("div", {}, this.now);
    node("strong", { class: "e2v-emotion" }, facts).textContent = result
      ? `${words.labels[result.emotion][1]} ${percent(result.confidence, 0)}`
      : "…";
    for (const [name, answer, confidence] of decisions(result ?? {}, words)) {
      node("div", {}, facts).textContent = `${name}: ${answer} ${percent(confidence, 0)}`;
    }
    node("div", { class: "e2v-state" }, facts).textContent = state;
    if (result && result.weights in words.chips) {
      node("span", { class: "e2v-chip" }, facts).textContent = `⚠ ${words.chips[result.weights]}`;
    }
  }

  finish() {
    this.stop.disabled = true;
    this.release();
    this.show(this.latest, this.words.finishing);
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: "session.close" }));
    }
  }

  closed({ duration, speech, summaries, reason }) {
    this.release();
    this.over = true;
    this.live.hidden = true;
    const { words, segments, peaks } = this;
    if (reason !== "closed") this.fail({ code: reason });
    const result = {
      duration, speech_ratio: duration ? speech[0] / duration : 0, segmentation: "vad",
      weights: this.latest?.weights ?? "pretrained", summary: summaries[0], segments,
    };
    if (!duration) return;
    for (const address of this.addresses ?? []) URL.revokeObjectURL(address);
    const sound = URL.createObjectURL(wav(this.blocks, this.context.sampleRate));
    const files = {
      "result.json": link(JSON.stringify(result, null, 2), "application/json"),
      "recording.wav": sound,
    };
    this.addresses = Object.values(files);
    this.drawn = drawResult(this.result, { ...result, peaks, files }, words, sound);
  }

  // The connection has ended; without the totals before, something was wrong.
  lost() {
    this.release();
    this.start.disabled = false;
    this.stop.disabled = true;
    this.live.hidden = true;
    if (!this.over) this.fail({ code: "gone" });
    this.over = false;
    this.latest = null;
  }

  release() {
    this.drawing?.stop();
    this.drawing = null;
    for (const track of this.media?.getTracks() ?? []) track.stop();
    this.media = null;
    if (this.context?.state === "running") this.context.close();
  }

  fail(problem) {
    this.start.disabled = false;
    this.tell(problem);
  }

  tell(problem) {
    this.trouble.replaceChildren(alert(this.words, problem));
  }
}

function link(text, type) {
  return URL.createObjectURL(new Blob([text], { type }));
}

// A WAV file of 16-bit samples, mono.
function wav(blocks, rate) {
  const bytes = blocks.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, n) => header.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...blocks], { type: "audio/wav" });
}

customElements.define("emotion-live", EmotionLive);

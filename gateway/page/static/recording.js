// <emotion-recording words=JSON>: a long recording goes to /api/timeline/, and its timeline comes
// back. The sound is played from the visitor's own file, which the server need not keep.
import { label, node } from "./common.js";
import { river } from "./river.js";

const API = "/api/timeline/";
const POLL_MS = 700;

class EmotionRecording extends HTMLElement {
  connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.words = JSON.parse(this.getAttribute("words"));
    this.build();
    const job = jobInAddress();
    if (job) this.follow(API + encodeURIComponent(job));
  }

  build() {
    const words = this.words;
    this.form = node("form", { class: "e2v-recording-form" }, this);
    const zone = node("label", { class: "e2v-drop" }, this.form);
    this.named = node("strong", {}, zone);
    this.named.textContent = words.choose;
    node("small", {}, zone).textContent = words.limits;
    this.input = node("input", { type: "file", accept: "audio/*,video/mp4,video/webm" }, zone);
    this.input.addEventListener("change", () => this.choose(this.input.files[0]));
    for (const kind of ["dragover", "drop"]) {
      zone.addEventListener(kind, (event) => event.preventDefault());
    }
    zone.addEventListener("drop", (event) => this.choose(event.dataTransfer.files[0]));

    const options = node("div", { class: "e2v-controls" }, this.form);
    this.segmentation = node("select", { name: "segmentation" }, this.labelled(options, words.cut));
    for (const kind of ["vad", "fixed"]) {
      node("option", { value: kind }, this.segmentation).textContent = words[kind];
    }
    const fixed = node("span", { class: "e2v-controls", hidden: "" }, options);
    this.numbers = {};
    for (const name of ["window", "hop"]) {
      const field = this.labelled(fixed, words[name]);
      this.numbers[name] = node(
        "input", { type: "number", name, min: 0.25, max: 30, step: 0.25, value: 3 }, field,
      );
    }
    this.segmentation.addEventListener("change", () => {
      fixed.hidden = this.segmentation.value !== "fixed";
    });
    const keep = node("label", {}, options);
    this.embedding = node("input", { type: "checkbox" }, keep);
    keep.append(` ${words.embedding}`);

    const start = node("button", { class: "e2v-button e2v-primary" }, this.form);
    start.textContent = words.start;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.start = start;

    this.status = node("div", { class: "e2v-job", role: "status", hidden: "" }, this);
    this.sentence = node("span", {}, this.status);
    this.bar = node("progress", { max: 1, value: 0, "aria-label": words.progress }, this.status);
    this.stop = node("button", { class: "e2v-button", type: "button" }, this.status);
    this.stop.textContent = words.cancel;
    this.stop.addEventListener("click", () => this.cancel());
    this.trouble = node("div", {}, this);
    this.result = node("article", { class: "e2v-recording" }, this);
  }

  labelled(parent, text) {
    const created = node("label", {}, parent);
    created.append(`${text} `);
    return created;
  }

  choose(file) {
    if (!file) return;
    this.file = file;
    this.named.textContent = `${file.name} · ${(file.size / 2 ** 20).toFixed(1)} MB`;
    if (this.sound) URL.revokeObjectURL(this.sound);
    this.sound = URL.createObjectURL(file);
    this.drawn?.listen(this.sound);
  }

  send() {
    const words = this.words;
    this.trouble.replaceChildren();
    if (!this.file) return this.fail({ code: "no_file", detail: words.choose });
    if (this.file.size > words.most) return this.fail({ code: "too_large", detail: words.too_large });
    const form = new FormData();
    form.append("audio", this.file);
    form.append("segmentation", this.segmentation.value);
    form.append("extract_embedding", this.embedding.checked);
    if (this.segmentation.value === "fixed") {
      for (const [name, field] of Object.entries(this.numbers)) form.append(name, field.value);
    }
    this.result.replaceChildren();
    this.drawn = null;
    this.show(words.uploading, 0);
    // Only this one tells how far an upload is.
    const request = new XMLHttpRequest();
    this.request = request;
    request.upload.addEventListener("progress", (event) => {
      this.show(words.uploading, event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      this.request = null;
      const answer = parsed(request.responseText);
      if (request.status === 202) this.follow(answer.url);
      else this.fail(answer);
    });
    request.addEventListener("error", () => this.fail({ code: "gone", detail: words.gone }));
    request.open("POST", API);
    request.send(form);
    return undefined;
  }

  // Asks until the job is over; a moment without an answer is not the end of it.
  async follow(url) {
    const address = new URL(window.location);
    address.searchParams.set("job", url.slice(API.length));
    address.searchParams.delete("show");
    window.history.replaceState(null, "", address);
    this.job = url;
    while (this.job === url) {
      let answer = null;
      try {
        answer = await (await fetch(url)).json();
      } catch {
        this.show(this.words.gone, this.bar.value);
      }
      if (this.job !== url) return;
      if (answer && answer.status !== "running") {
        this.finish(answer);
        return;
      }
      if (answer) this.show(this.words.working, answer.progress);
      await new Promise((resume) => { setTimeout(resume, POLL_MS); });
    }
  }

  finish(answer) {
    this.job = null;
    this.status.hidden = true;
    this.start.disabled = false;
    if (answer.status === "cancelled") return this.fail({ code: "cancelled", detail: this.words.cancelled });
    if (!answer.result) return this.fail(answer.problem ?? answer);
    if (!this.file) this.named.textContent = answer.filename;
    this.draw(answer.result);
    return undefined;
  }

  async cancel() {
    if (this.request) {
      this.request.abort();
      this.request = null;
      this.finish({ status: "cancelled" });
    } else if (this.job) {
      this.stop.disabled = true;
      await fetch(this.job, { method: "DELETE" });
    }
  }

  show(sentence, share) {
    this.status.hidden = false;
    this.start.disabled = true;
    this.stop.disabled = false;
    this.sentence.textContent = `${sentence} ${(100 * share).toFixed(0)} %`;
    this.bar.value = share;
  }

  fail(problem) {
    this.status.hidden = true;
    this.start.disabled = false;
    const box = node("div", { class: "e2v-error", role: "alert" });
    node("h2", {}, box).textContent = `⚠ ${this.words.error}`;
    const own = this.words.problems[problem.code];
    if (own) node("p", {}, box).textContent = own;
    if (problem.detail && problem.detail !== own) {
      const detail = node("p", own ? { class: "e2v-detail", lang: "en" } : {}, box);
      detail.textContent = problem.detail;
    }
    this.trouble.replaceChildren(box);
  }

  draw(result) {
    const words = this.words;
    this.trouble.replaceChildren();
    this.result.replaceChildren();
    const top = node("div", { class: "e2v-top", role: "status" }, this.result);
    if (result.summary) {
      const emoji = words.labels[result.summary.emotion][0];
      const icon = node("span", { class: "e2v-emoji e2v-icon", "aria-hidden": "true" }, top);
      icon.textContent = emoji;
    }
    const facts = node("div", {}, top);
    const headline = node("strong", { class: "e2v-emotion" }, facts);
    headline.textContent = result.summary
      ? `${words.labels[result.summary.emotion][1]} ${(100 * result.summary.confidence).toFixed(1)} %`
      : words.silent;
    node("div", {}, facts).textContent = words.facts
      .replace("{speech}", (100 * result.speech_ratio).toFixed(0))
      .replace("{length}", clock(result.duration))
      .replace("{count}", result.segments.length);
    if (result.weights === "random") {
      node("span", { class: "e2v-chip" }, facts).textContent = `⚠ ${words.random}`;
    }
    this.drawn = river(this.result, result, words, clock);
    if (this.sound) this.drawn.listen(this.sound);
    this.places(result);
    this.table(result);
    const list = node("ul", { class: "e2v-downloads" }, this.result);
    for (const [file, url] of Object.entries(result.files)) {
      const link = node("a", { href: url, download: file }, node("li", {}, list));
      link.textContent = `⬇ ${words.files[file]}`;
    }
  }

  // Where it turns, and where it was worst: each can be heard.
  places(result) {
    if (!result.summary) return;
    const { turning_points: turns, negative } = result.summary;
    const words = this.words;
    if (negative) {
      const line = node("p", {}, this.result);
      line.append(`${words.negative} `);
      const text = `${clock(negative.start)} – ${clock(negative.end)}`;
      this.place(line, text, negative.start, negative.end);
    }
    if (!turns.length) return;
    const details = node("details", { class: "e2v-log" }, this.result);
    node("summary", {}, details).textContent = `${words.turns} (${turns.length})`;
    const list = node("ul", { class: "e2v-turns" }, details);
    for (const turn of turns) {
      const entry = node("li", {}, list);
      this.place(entry, clock(turn.time), turn.time);
      entry.append(" ");
      label(entry, words, turn.before);
      entry.append(" → ");
      label(entry, words, turn.after);
    }
  }

  place(parent, text, start, end) {
    const button = node("button", { class: "e2v-place", type: "button" }, parent);
    button.textContent = `▶ ${text}`;
    button.addEventListener("click", () => this.drawn.play(start, end));
  }

  table(result) {
    const words = this.words;
    const box = node("div", { class: "e2v-table", tabindex: 0, role: "region", "aria-label": words.table }, this.result);
    const table = node("table", {}, box);
    const head = node("tr", {}, node("thead", {}, table));
    for (const word of words.columns) node("th", { scope: "col" }, head).textContent = word;
    const body = node("tbody", {}, table);
    const rows = result.segments.map((segment, number) => {
      const row = node("tr", {}, body);
      this.place(node("td", {}, row), clock(segment.start), segment.start, segment.end);
      node("td", {}, row).textContent = clock(segment.end);
      label(node("td", {}, row), words, segment.emotion);
      node("td", {}, row).textContent = `${(100 * segment.confidence).toFixed(1)} %`;
      node("td", {}, row).textContent = `${(100 * segment.speech).toFixed(0)} %`;
      row.dataset.segment = number;
      return row;
    });
    this.drawn.onSegment = (number) => {
      for (const row of body.querySelectorAll(".e2v-heard")) row.classList.remove("e2v-heard");
      if (number === null) return;
      const row = rows[number];
      row.classList.add("e2v-heard");
      // Only within its own box: the page itself shall stay where it is.
      box.scrollTop = row.offsetTop - box.clientHeight / 2;
    };
  }
}

// The address keeps the job, so that a reload or the other language finds it again.
function jobInAddress() {
  return new URL(window.location).searchParams.get("job");
}

// Gradio makes the tab some time after this script has run, and its content when it is opened.
function openTab() {
  const tab = document.getElementById("e2v-recording-button");
  if (tab) tab.click();
  else requestAnimationFrame(openTab);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { code: "failed", detail: text.slice(0, 200) };
  }
}

// 75.25 is 1:15.3; hours come when there are some.
function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

customElements.define("emotion-recording", EmotionRecording);
if (jobInAddress()) openTab();

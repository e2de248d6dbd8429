// <emotion-timeline words=JSON>: a long recording goes to /api/timeline/, and its timeline comes
// back. The sound is played from the visitor's own file, which the server need not keep.
import { alert, button, dropZone, labelled, node, parsed, percent } from "./common.js";
import { drawResult } from "./timeline_result.js";

const API = "/api/timeline/";
const POLL_MS = 700;

class EmotionTimeline extends HTMLElement {
  connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.words = JSON.parse(this.getAttribute("words"));
    this.build();
    const job = jobInAddress();
    if (job) this.follow(API + encodeURIComponent(job));
  }

  build() {
    const { words } = this;
    this.form = node("form", { class: "e2v-timeline-form" }, this);
    this.named = dropZone(this.form, words, {}, ([file]) => this.choose(file));

    const options = node("div", { class: "e2v-controls" }, this.form);
    this.segmentation = node("select", { name: "segmentation" }, labelled(options, words.cut));
    for (const kind of ["vad", "fixed"]) {
      node("option", { value: kind }, this.segmentation).textContent = words[kind];
    }
    const fixed = node("span", { class: "e2v-controls", hidden: "" }, options);
    this.numbers = {};
    for (const name of ["window", "hop"]) {
      this.numbers[name] = node(
        "input", { type: "number", name, min: 0.25, max: 30, step: 0.25, value: 3 },
        labelled(fixed, words[name]),
      );
    }
    this.segmentation.addEventListener("change", () => {
      fixed.hidden = this.segmentation.value !== "fixed";
      // Voices are told apart where speech is cut at pauses.
      for (const option of this.speakers.options) {
        option.disabled = !fixed.hidden && ["2", "auto"].includes(option.value);
        if (option.disabled && option.selected) this.speakers.value = "1";
      }
    });
    this.speakers = node("select", { name: "speakers" }, labelled(options, words.speakers));
    for (const [kind, word] of words.apart) {
      node("option", { value: kind }, this.speakers).textContent = word;
    }
    this.speakers.value = "1";
    const named = node("span", { hidden: "" }, options);
    this.names = node(
      "input", { type: "text", name: "names", placeholder: words.example },
      labelled(named, words.called),
    );
    this.speakers.addEventListener("change", () => { named.hidden = this.speakers.value === "1"; });
    if (words.embedding) {
      const keep = node("label", {}, options);
      this.embedding = node("input", { type: "checkbox" }, keep);
      keep.append(` ${words.embedding}`);
    }

    this.start = node("button", { class: "e2v-button e2v-primary" }, this.form);
    this.start.textContent = words.start;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });

    this.status = node("div", { class: "e2v-job", role: "status", hidden: "" }, this);
    this.sentence = node("span", {}, this.status);
    this.bar = node("progress", { max: 1, value: 0, "aria-label": words.progress }, this.status);
    this.stop = button(this.status, words.cancel, () => this.cancel());
    this.trouble = node("div", {}, this);
    this.result = node("article", { class: "e2v-timeline" }, this);
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
    const { file, words } = this;
    this.trouble.replaceChildren();
    if (!file) return this.fail({ code: "no_file" });
    if (file.size > words.most) return this.fail({ code: "too_large" });
    const form = new FormData();
    form.append("audio", file);
    form.append("segmentation", this.segmentation.value);
    if (this.embedding) form.append("extract_embedding", this.embedding.checked);
    const apart = this.speakers.value;
    if (apart === "separate") form.append("channels", apart);
    else form.append("speakers", apart);
    const names = apart === "1" ? "" : this.names.value.trim();
    for (const name of names ? names.split(/[,，、]/) : []) form.append("names", name.trim());
    if (this.segmentation.value === "fixed") {
      for (const [name, field] of Object.entries(this.numbers)) form.append(name, field.value);
    }
    this.clear();
    this.show(words.uploading, 0);
    // Only XMLHttpRequest reports the progress of an upload.
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
    request.addEventListener("error", () => this.fail({ code: "gone" }));
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
    if (answer.status === "cancelled") return this.fail({ code: "cancelled" });
    if (!answer.result) return this.fail(answer.problem ?? answer);
    this.rest();
    if (!this.file) this.named.textContent = answer.filename;
    this.trouble.replaceChildren();
    this.clear();
    this.drawn = drawResult(this.result, answer.result, this.words, this.sound);
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
    this.sentence.textContent = `${sentence} ${percent(share, 0)}`;
    this.bar.value = share;
  }

  rest() {
    this.status.hidden = true;
    this.start.disabled = false;
  }

  clear() {
    this.drawn?.destroy();
    this.drawn = null;
    this.result.replaceChildren();
  }

  fail(problem) {
    this.rest();
    this.trouble.replaceChildren(alert(this.words, problem));
  }
}

// The address keeps the job, so that a reload or the other language finds it again.
function jobInAddress() {
  return new URL(window.location).searchParams.get("job");
}

// Gradio makes the tab some time after this script has run, and its content when it is opened.
function openTab() {
  const tab = document.getElementById("e2v-timeline-button");
  if (tab) tab.click();
  else requestAnimationFrame(openTab);
}

customElements.define("emotion-timeline", EmotionTimeline);
if (jobInAddress()) openTab();

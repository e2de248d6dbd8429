// <emotion-batch words=JSON>: many clips go to /api/predict/, a few at a time, and a table fills as
// the answers come. The browser makes the table and its CSV; the server does not.
import { NAMES, button, decisions, dropZone, label, node, parsed, percent, sentences } from "./common.js";

const API = "/api/predict/";
const AT_ONCE = 4;
const RETRY_SECONDS = 1;
// Named as the command line names them, so that a head called "angry" hides no score.
const judged = ({ policy, heads }) => Object.fromEntries(
  Object.entries({ ...(policy && { policy }), ...heads }).map(([name, own]) => [`${name}_label`, own.label]));

const COLUMNS = ["file", "emotion", "confidence", "duration", ...NAMES, "problem"];

class EmotionBatch extends HTMLElement {
  connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.words = JSON.parse(this.getAttribute("words"));
    this.entries = [];
    this.active = new Set();
    this.build();
  }

  build() {
    const { words } = this;
    dropZone(this, words, { multiple: "" }, (files) => this.add(files));
    const row = node("div", { class: "e2v-job" }, this);
    this.status = node("span", { role: "status" }, row);
    this.bar = node("progress", { value: 0, "aria-label": words.progress, hidden: "" }, row);
    this.stop = button(row, words.stop, () => this.end());
    this.again = button(row, words.retry_all, () => this.retry(this.entries));
    this.save = button(row, words.csv, () => this.download());
    this.empty = button(row, words.clear, () => this.clear());
    this.box = node("div", {
      class: "e2v-table", tabindex: 0, role: "region", "aria-label": words.table, hidden: "",
    }, this);
    const table = node("table", {}, this.box);
    const head = node("tr", {}, node("thead", {}, table));
    for (const word of words.columns) node("th", { scope: "col" }, head).textContent = word;
    this.body = node("tbody", {}, table);
    this.tell();
  }

  add(files) {
    for (const file of files) {
      const entry = { file, state: "waiting", row: node("tr", {}, this.body) };
      this.entries.push(entry);
      this.draw(entry);
    }
    this.work();
  }

  retry(entries) {
    for (const entry of entries) {
      if (entry.state !== "failed" && entry.state !== "stopped") continue;
      entry.state = "waiting";
      this.draw(entry);
    }
    this.work();
  }

  // Keeps up to AT_ONCE requests in flight; each one that ends makes room for the next.
  work() {
    while (this.active.size < AT_ONCE) {
      const entry = this.entries.find(({ state }) => state === "waiting");
      if (!entry) break;
      const leave = new AbortController();
      entry.state = "working";
      this.draw(entry);
      this.active.add(leave);
      this.send(entry, leave.signal).finally(() => {
        this.active.delete(leave);
        this.work();
      });
    }
    this.tell();
  }

  async send(entry, signal) {
    let state = "failed";
    let answer;
    try {
      answer = await this.ask(entry.file, signal);
      if (answer.scores) state = "done";
    } catch (error) {
      if (signal.aborted) return;
      // A file that has gone, or a folder, cannot be read; any other error means
      // that the server cannot be reached.
      answer = { code: error.name === "NotReadableError" ? "unreadable" : "gone" };
    }
    Object.assign(entry, { state, answer });
    this.draw(entry);
  }

  async ask(file, signal) {
    if (file.size > this.words.most) return { code: "too_large" };
    const form = new FormData();
    // Read the file first: then a missing file is not mistaken for an unreachable server.
    form.append("audio", new Blob([await file.arrayBuffer()]), file.name);
    for (;;) {
      const response = await fetch(API, { method: "POST", body: form, signal });
      const answer = parsed(await response.text());
      // No room now, or the model is just starting: that is no problem of this file.
      if (response.status !== 429 && response.status !== 503) return answer;
      const seconds = Number(response.headers.get("Retry-After")) || RETRY_SECONDS;
      this.tell(this.words.waits);
      await new Promise((resume, stop) => {
        setTimeout(resume, 1000 * seconds);
        signal.addEventListener("abort", stop, { once: true });
      });
    }
  }

  end() {
    for (const entry of this.entries) {
      if (entry.state !== "waiting" && entry.state !== "working") continue;
      entry.state = "stopped";
      this.draw(entry);
    }
    for (const leave of this.active) leave.abort();
    this.tell();
    this.again.focus();
  }

  clear() {
    this.entries = [];
    this.body.replaceChildren();
    this.tell();
  }

  // Says how far it is, and shows the buttons that do something now.
  tell(more = "") {
    const of = (state) => this.entries.filter((entry) => entry.state === state).length;
    const count = this.entries.length;
    const [done, failed] = [of("done"), of("failed")];
    const busy = of("waiting") + of("working") > 0;
    const parts = count ? [this.words.progressed.replace("{done}", done).replace("{count}", count)] : [];
    if (failed) parts.push(this.words.failures.replace("{count}", failed));
    this.status.textContent = [...parts, more].filter(Boolean).join(" · ");
    this.bar.hidden = !busy;
    this.bar.max = Math.max(count, 1);
    this.bar.value = done + failed;
    this.box.hidden = !count;
    this.stop.hidden = !busy;
    this.again.hidden = busy || failed + of("stopped") === 0;
    this.save.hidden = done + failed === 0;
    this.empty.hidden = busy || !count;
  }

  draw({ file, state, answer, row }) {
    const { words } = this;
    row.replaceChildren();
    node("th", { scope: "row" }, row).textContent = file.name;
    if (state === "done") {
      const cell = node("td", {}, row);
      label(cell, words, answer.emotion);
      for (const [name, own] of decisions(answer, words)) {
        node("small", { class: "e2v-decision" }, cell).textContent = `${name}: ${own}`;
      }
      node("td", {}, row).textContent = percent(answer.confidence);
      node("td", {}, row).textContent = `${answer.duration.toFixed(1)} ${words.seconds}`;
      return;
    }
    const cell = node("td", { colspan: 3 }, row);
    cell.textContent = state === "failed" ? `⚠ ${sentences(words, answer)[0]} ` : `${words[state]} `;
    if (state !== "failed" && state !== "stopped") return;
    const again = () => {
      this.retry([this.entries.find((entry) => entry.row === row)]);
      this.box.focus();
    };
    button(cell, words.retry, again, "e2v-place").setAttribute("aria-label", `${words.retry}: ${file.name}`);
  }

  download() {
    const lines = this.entries.filter(({ state }) => state === "done" || state === "failed")
      .map(({ file, state, answer }) => {
        if (state === "failed") return { file: file.name, problem: sentences(this.words, answer)[0] };
        return { ...answer, ...answer.scores, ...judged(answer), file: file.name };
      });
    const judges = new Set(this.entries.flatMap(({ state, answer }) =>
      state === "done" ? Object.keys(judged(answer)) : []));
    const columns = [...COLUMNS, ...judges];
    const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const rows = lines.map((line) => columns.map((column) =>
      typeof line[column] === "string" ? quoted(line[column]) : line[column] ?? ""));
    // Spreadsheets take it for UTF-8 by the mark at its start.
    const text = `\ufeff${[columns, ...rows].map((cells) => cells.join(",")).join("\r\n")}\r\n`;
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    node("a", { href: url, download: "emotions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
}

customElements.define("emotion-batch", EmotionBatch);

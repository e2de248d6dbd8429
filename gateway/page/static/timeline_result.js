// The result of a long recording: its waveform with the emotions of its segments below, where it
// turns, a table and downloads. Each segment and turning point can be played.
import { button, clock, decisions, label, labelled, node, percent } from "./common.js";
import { player } from "./player.js";
import { Rivers, conversation, nameOf } from "./timeline_speakers.js";

const WAVE = 72;
// Seconds: a smaller distance from the intended end counts as having reached it.
const NEARLY = 0.05;
const MARK = "position:absolute;background:#fff5;outline:2px solid;z-index:4;pointer-events:none";

// Draws a result into a parent, with its sound if that is there already. Returns an object:
// listen(address) sets the sound later, destroy() removes the player.
export function drawResult(parent, result, words, sound) {
  parent.replaceChildren();
  headline(parent, result, words);
  const course = new Course(parent, result, words, sound);
  if (result.speakers) {
    conversation(parent, result, words, (line, text, start, end) => {
      place(line, course, text, start, end);
    });
  }
  if (result.summary) places(parent, result, words, course);
  course.onSegment = table(parent, result, words, course);
  const list = node("ul", { class: "e2v-downloads" }, parent);
  for (const [file, url] of Object.entries(result.files ?? {})) {
    const link = node("a", { href: url, download: file }, node("li", {}, list));
    link.textContent = `⬇ ${words.files[file]}`;
  }
  return course;
}

function headline(parent, { summary, speech_ratio: speech, duration, segments, weights }, words) {
  const top = node("div", { class: "e2v-top", role: "status" }, parent);
  if (summary) {
    const icon = node("span", { class: "e2v-emoji e2v-icon", "aria-hidden": "true" }, top);
    [icon.textContent] = words.labels[summary.emotion];
  }
  const facts = node("div", {}, top);
  node("strong", { class: "e2v-emotion" }, facts).textContent = summary
    ? `${words.labels[summary.emotion][1]} ${percent(summary.confidence)}`
    : words.silent;
  node("div", {}, facts).textContent = words.facts
    .replace("{speech}", (100 * speech).toFixed(0))
    .replace("{length}", clock(duration))
    .replace("{count}", segments.length);
  for (const [name, answer, confidence] of decisions(summary ?? {}, words)) {
    node("div", {}, facts).textContent = `${name}: ${answer} ${percent(confidence)}`;
  }
  if (weights in words.chips) {
    node("span", { class: "e2v-chip" }, facts).textContent = `⚠ ${words.chips[weights]}`;
  }
}

class Course {
  constructor(parent, result, words, sound) {
    const { duration, segments, peaks } = result;
    this.rivers = new Rivers(result, words);
    this.segments = segments;
    this.words = words;
    this.heard = null;
    this.until = -1;
    this.onSegment = () => {};
    const zoom = node("input", { type: "range", min: 1, step: 0.5, value: 1 }, labelled(
      node("div", { class: "e2v-controls" }, parent), words.zoom,
    ));
    // At the largest zoom, 100 s fill the width.
    zoom.max = Math.max(1, Math.round(duration / 100));
    zoom.disabled = zoom.max === "1";
    const { waves, plot, audio } = player(parent, {
      duration, words, peaks: [peaks], url: sound, height: WAVE, picture: this.rivers.svg,
      description: words.description, at: (second) => this.at(second),
    });
    Object.assign(this, { waves, audio });
    this.mark = node("div", { class: "e2v-mark", style: MARK, hidden: "" }, waves.getWrapper());
    this.rivers.name(waves.getWrapper());
    this.note = node("small", {}, parent);
    this.note.textContent = words.unheard;
    if (sound) this.listen(sound);
    zoom.addEventListener("input", () => waves.zoom((plot.clientWidth / duration) * zoom.value));
    waves.on("timeupdate", (second) => this.moved(second));
    waves.on("click", (x, y) => {
      const lane = this.rivers.laneAt((1 - y) * waves.getWrapper().clientHeight);
      this.playSegment(this.segmentAt(x * duration, lane) ?? this.heard);
    });
    waves.on("error", () => {
      audio.hidden = true;
      this.note.textContent = words.unplayable;
    });
    plot.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      event.preventDefault();
      const next = segments.findIndex(({ start }) => start > waves.getCurrentTime() + 0.01);
      const after = next < 0 ? segments.length : next;
      if (event.key === "ArrowLeft") this.playSegment((this.heard ?? after) - 1);
      else this.playSegment(this.heard === null ? after : this.heard + 1);
    });
  }

  listen(address) {
    this.audio.src = address;
    this.audio.hidden = false;
    this.note.textContent = this.words.hint;
  }

  play(start, end) {
    this.until = end ?? -1;
    this.waves.setTime(start);
    // Where it cannot be played, the element's error says so.
    if (!this.audio.hidden) this.waves.play(start, end).catch(() => {});
  }

  playSegment(number) {
    const segment = this.segments[number];
    if (segment) this.play(segment.start, segment.end);
    else if (number === null && !this.audio.hidden) this.waves.play();
  }

  destroy() {
    this.waves.destroy();
  }

  // The segment of one speaker or, by default, of any.
  segmentAt(second, who = null) {
    // Windows may overlap: the last that has begun is the one that is seen.
    const found = this.segments.findLastIndex(({ start, end, speaker }) =>
      start <= second + 0.01 && second < end && (who === null || speaker === who));
    return found < 0 ? null : found;
  }

  at(second) {
    const said = this.rivers.lanes.map((speaker) => {
      const own = this.segments[this.segmentAt(second, speaker)];
      if (!own) return "";
      const [emoji, name] = this.words.labels[own.emotion];
      const who = speaker === undefined ? "" : `${nameOf(this.words, speaker)} `;
      return ` ${who}${emoji} ${name} ${percent(own.confidence, 0)}`;
    });
    return `${clock(second)}${said.join("")}`;
  }

  moved(second) {
    // At the end of a played segment, keep that segment marked, not the next.
    if (Math.abs(second - this.until) < NEARLY) return;
    const number = this.segmentAt(second);
    if (number === this.heard) return;
    this.heard = number;
    const segment = this.segments[number];
    this.mark.hidden = !segment;
    if (segment) {
      const share = (seconds) => `${(100 * seconds) / this.waves.getDuration()}%`;
      const across = `left:${share(segment.start)};width:${share(segment.end - segment.start)}`;
      this.mark.style = `${MARK};${this.rivers.place(segment)};${across}`;
    }
    this.onSegment(number);
  }
}

function place(parent, course, text, start, end) {
  button(parent, `▶ ${text}`, () => course.play(start, end), "e2v-place");
}

// Where it turns, and where it was worst; each speaker turns alone.
function places(parent, { summary, speakers }, words, course) {
  const { negative } = summary;
  const turns = speakers
    ? speakers.flatMap(({ name, summary: own }) =>
      (own?.turning_points ?? []).map((turn) => ({ ...turn, name })))
    : summary.turning_points;
  turns.sort((one, other) => one.time - other.time);
  if (negative && !speakers) {
    const line = node("p", {}, parent);
    line.append(`${words.negative} `);
    const { start, end } = negative;
    place(line, course, `${clock(start)} – ${clock(end)}`, start, end);
  }
  if (!turns.length) return;
  const details = node("details", { class: "e2v-log" }, parent);
  node("summary", {}, details).textContent = `${words.turns} (${turns.length})`;
  const list = node("ul", { class: "e2v-turns" }, details);
  for (const turn of turns) {
    const entry = node("li", {}, list);
    place(entry, course, clock(turn.time), turn.time);
    entry.append(turn.name === undefined ? " " : ` ${nameOf(words, turn.name)} `);
    label(entry, words, turn.before);
    entry.append(" → ");
    label(entry, words, turn.after);
  }
}

// Returns what marks the line of the segment that is heard.
function table(parent, { segments, speakers }, words, course) {
  const box = node("div", {
    class: "e2v-table", tabindex: 0, role: "region", "aria-label": words.table,
  }, parent);
  const grid = node("table", {}, box);
  const head = node("tr", {}, node("thead", {}, grid));
  const judges = decisions(segments[0] ?? {}, words).map(([name]) => name);
  for (const word of [...(speakers ? [words.speaker] : []), ...words.columns, ...judges]) {
    node("th", { scope: "col" }, head).textContent = word;
  }
  const body = node("tbody", {}, grid);
  const rows = segments.map((segment) => {
    const row = node("tr", {}, body);
    if (speakers) node("td", {}, row).textContent = nameOf(words, segment.speaker);
    place(node("td", {}, row), course, clock(segment.start), segment.start, segment.end);
    node("td", {}, row).textContent = clock(segment.end);
    label(node("td", {}, row), words, segment.emotion);
    node("td", {}, row).textContent = percent(segment.confidence);
    node("td", {}, row).textContent = percent(segment.speech, 0);
    for (const [, answer, confidence] of decisions(segment, words)) {
      node("td", {}, row).textContent = `${answer} ${percent(confidence, 0)}`;
    }
    return row;
  });
  return (number) => {
    body.querySelector(".e2v-heard")?.classList.remove("e2v-heard");
    if (number === null) return;
    rows[number].classList.add("e2v-heard");
    // Only within its own box: the page itself shall stay where it is.
    box.scrollTop = rows[number].offsetTop - box.clientHeight / 2;
  };
}

// The speakers of a timeline: a river each below the waveform, and what is known of them.
import { NAMES, clock, label, node, percent, picture } from "./common.js";

const RIVER = 144;
const LANE = 84;
const GAP = 6;
const NAME = "position:sticky;left:0;display:inline-block;max-width:100%;padding:0 .3rem;" +
  "background:#0008;color:#fff;font-size:.75rem;line-height:1.2rem;border-radius:.2rem";

// A name that the server chose is shown in the page's language.
export function nameOf(words, name) {
  return Object.hasOwn(words.names, name) ? words.names[name] : name;
}

export class Rivers {
  constructor({ duration, segments, speakers }, words) {
    this.lanes = speakers?.map(({ name }) => name) ?? [undefined];
    this.height = speakers ? LANE : RIVER;
    const total = this.lanes.length * (this.height + GAP) - GAP;
    this.svg = picture(duration, total, total, "e2v-river");
    this.lanes.forEach((name, lane) => {
      const own = segments.filter(({ speaker }) => speaker === name);
      this.draw(own, lane * (this.height + GAP) + this.height);
    });
    this.words = words;
  }

  draw(segments, bottom) {
    const floors = segments.map(() => bottom);
    for (const name of NAMES) {
      let path = "";
      segments.forEach((segment, number) => {
        const next = segments[number + 1]?.start ?? Infinity;
        const end = Math.min(segment.end, next);
        const floor = floors[number].toFixed(2);
        floors[number] -= segment.scores[name] * this.height;
        path += `M${segment.start} ${floor}V${floors[number].toFixed(2)}H${end}V${floor}Z`;
      });
      node("svg:path", { d: path, fill: `var(--e2v-${name})` }, this.svg);
    }
  }

  // Writes the names over the lanes; they stay in sight when the picture is scrolled.
  name(parent) {
    if (this.lanes[0] === undefined) return;
    this.lanes.forEach((name, lane) => {
      const style = `position:absolute;left:0;right:0;z-index:5;pointer-events:none;${this.above(lane)}`;
      node("span", { style: NAME }, node("div", { style, class: "e2v-lane" }, parent)).textContent =
        nameOf(this.words, name);
    });
  }

  // Where a segment is, as CSS: its lane, above the axis of 1.3rem.
  place(segment) {
    return this.lanes[0] === undefined
      ? "top:0;bottom:1.3rem" : this.above(this.lanes.indexOf(segment.speaker));
  }

  // The speaker of the lane at a height above the bottom, which has the axis.
  laneAt(pixels) {
    const height = pixels - 1.3 * parseFloat(getComputedStyle(document.documentElement).fontSize);
    const lane = this.lanes.length - 1 - Math.floor(height / (this.height + GAP));
    return this.lanes[Math.max(0, Math.min(lane, this.lanes.length - 1))];
  }

  above(lane) {
    const below = (this.lanes.length - 1 - lane) * (this.height + GAP);
    return `bottom:calc(1.3rem + ${below}px);height:${this.height}px`;
  }
}

// A line about each speaker, and what happened between them; place() makes a button that plays.
export function conversation(parent, { speakers, conversation: between }, words, place) {
  for (const { name, speech, summary } of speakers) {
    const line = node("p", { class: "e2v-speaker" }, parent);
    node("strong", {}, line).textContent = nameOf(words, name);
    line.append(" ");
    if (summary) {
      label(line, words, summary.emotion);
      line.append(` ${percent(summary.confidence)}`);
    }
    line.append(` · ${words.spoke.replace("{time}", clock(speech))}`);
    if (summary?.negative) {
      const { start, end } = summary.negative;
      line.append(` · ${words.negative} `);
      place(line, `${clock(start)} – ${clock(end)}`, start, end);
    }
  }
  const line = node("p", { class: "e2v-between" }, parent);
  if (between.first_to_turn) {
    const { speaker, time, before, after } = between.first_to_turn;
    line.append(`${words.first} ${nameOf(words, speaker)} `);
    place(line, clock(time), time);
    line.append(" ");
    label(line, words, before);
    line.append(" → ");
    label(line, words, after);
    line.append(". ");
  }
  if (between.overlap !== null) {
    line.append(words.overlap.replace("{time}", clock(between.overlap)));
  }
}

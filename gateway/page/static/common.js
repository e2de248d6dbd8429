// What the page's own elements have in common.

export const NAMES = [
  "angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown",
];

const SVG = "http://www.w3.org/2000/svg";

// A new element with attributes, at the end of its parent; "svg:path" is one of SVG's.
export function node(name, attributes = {}, parent = null) {
  const created = name.startsWith("svg:")
    ? document.createElementNS(SVG, name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  if (parent) parent.append(created);
  return created;
}

// An SVG that fills its parent's width, whatever its own coordinates are.
export function picture(width, height, pixels, kind) {
  return node("svg:svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: kind,
    style: `display:block;width:100%;height:${pixels}px;background:#8881`,
  });
}

export function button(parent, text, action, kind = "e2v-button") {
  const created = node("button", { class: kind, type: "button" }, parent);
  created.textContent = text;
  created.addEventListener("click", action);
  return created;
}

export function labelled(parent, text) {
  const created = node("label", {}, parent);
  created.append(`${text} `);
  return created;
}

// A place to drop files on, or to choose them with the keyboard.
export function dropZone(parent, words, attributes, chosen) {
  const zone = node("label", { class: "e2v-drop" }, parent);
  const name = node("strong", {}, zone);
  name.textContent = words.choose;
  node("small", {}, zone).textContent = words.limits;
  const input = node(
    "input", { type: "file", accept: "audio/*,video/mp4,video/webm", ...attributes }, zone,
  );
  input.addEventListener("change", () => {
    chosen([...input.files]);
    // The same file again is a choice, too.
    input.value = "";
  });
  for (const kind of ["dragover", "drop"]) {
    zone.addEventListener(kind, (event) => event.preventDefault());
  }
  zone.addEventListener("drop", (event) => chosen([...event.dataTransfer.files]));
  return name;
}

export function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)} %`;
}

// An emotion's emoji and its name in the page's language.
export function label(parent, words, name) {
  const [emoji, word] = words.labels[name];
  node("span", { class: "e2v-icon", "aria-hidden": "true" }, parent).textContent = emoji;
  parent.append(` ${word}`);
}

export function legend(parent, words) {
  const list = node("ul", { class: "e2v-legend" }, parent);
  for (const name of NAMES) {
    const entry = node("li", {}, list);
    node("i", { style: `background:var(--e2v-${name})` }, entry);
    label(entry, words, name);
  }
}

// What is wrong in the page's words, and the server's own sentence where that says more.
export function sentences(words, { code, detail }) {
  const own = words.problems[code] ?? words.problems.failed;
  return words.detailed.includes(code) ? [own, detail] : [own];
}

// A box that says what is wrong.
export function alert(words, problem) {
  const box = node("div", { class: "e2v-error", role: "alert" });
  node("h2", {}, box).textContent = `⚠ ${words.error}`;
  const [own, detail] = sentences(words, problem);
  node("p", {}, box).textContent = own;
  if (detail) node("p", { class: "e2v-detail", lang: "en" }, box).textContent = detail;
  return box;
}

// What the server answered; a proxy before it may answer something else than JSON.
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { code: "failed" };
  }
}

// 75.25 is 1:15.3, or 1:15 without tenths; hours come when there are some.
export function clock(seconds, digits = 1) {
  const scale = 10 ** digits;
  const units = Math.round(seconds * scale);
  const minutes = Math.floor(units / (60 * scale));
  const rest = ((units % (60 * scale)) / scale).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// What the policy and the heads answer: for each its name, its answer and its confidence.
export function decisions({ policy, heads }, words) {
  const all = [...(policy ? [[words.policy, policy]] : []), ...Object.entries(heads ?? {})];
  return all.map(([name, { label: own, names, confidence }]) =>
    [name, names?.[words.language] ?? own, confidence]);
}

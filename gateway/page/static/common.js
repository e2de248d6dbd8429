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
export function picture(width, height, kind, parent) {
  const attributes = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: kind };
  return node("svg:svg", attributes, parent);
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

// Elements from values. Text is only ever text: nothing here parses HTML.

import { t } from "./strings.js";

const SVG = new Set(["svg", "rect", "path", "circle", "polyline"]);

export function h(tag, props = {}, ...children) {
  const node = SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  put(node, children);
  return node;
}

export function put(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return put(node, children);
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

// Sentences that everybody sees, until they are closed or another page is opened.
export function tell(...sentences) {
  const place = document.getElementById("notice");
  fill(place, sentences.map((one) => h("p", {}, one)), sentences.length
    ? h("button", { type: "button", class: "plain", "aria-label": t("close"), onclick: () => tell() }, "×") : null);
}

// What stands there already stays.
export function tellAlso(...sentences) {
  tell(...[...document.querySelectorAll("#notice p")].map((one) => one.textContent), ...sentences);
}

// Only web addresses become links.
export function link(url, label, props = {}) {
  let safe = null;
  try {
    const parsed = new URL(url);
    if (parsed.protocol === "https:" || parsed.protocol === "http:") safe = parsed.href;
  } catch { /* not an address */ }
  if (!safe) return document.createTextNode(label);
  return h("a", { href: safe, rel: "noopener noreferrer nofollow", target: "_blank", ...props }, label);
}

// A picture of the index; what is gone leaves a hatched place.
export function picture(id, alt, { size = "medium", kind = "", eager = false } = {}) {
  if (!id) return h("span", { class: `missing ${kind}`, role: "img", "aria-label": alt });
  const node = h("img", {
    class: kind, alt, loading: eager ? "eager" : "lazy", decoding: "async",
    src: `v1/pictures/${encodeURIComponent(id)}?size=${size}`,
  });
  node.addEventListener("error", () => {
    node.replaceWith(h("span", { class: `missing ${kind}`, role: "img", "aria-label": alt }));
  }, { once: true });
  return node;
}

// The same on a piece of paper.
export const mounted = (id, alt, options) => h("span", { class: "mount" }, picture(id, alt, options));

export function bar(share, label) {
  const width = (100 * Math.min(Math.max(share, 0), 1)).toFixed(1);
  return h("svg", { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": label },
    h("rect", { class: "track", width: 100, height: 4 }),
    h("rect", { class: "fill", width, height: 4 }));
}

export function later(work, wait = 250) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait);
  };
}

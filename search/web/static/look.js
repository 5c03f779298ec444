// Pictures that open large when they are clicked. The lightbox itself is loaded with the first one.

import { h } from "./dom.js";
import { t } from "./strings.js";
import { load } from "./api.js";

const entries = new WeakMap();

// A button around a small picture. The entry says what it is: { picture_id, title, title_id, authors,
// year, alt }, and `about()` for what else is to be said of it.
export function lookButton(entry, props, ...children) {
  const button = h("button", {
    type: "button", "aria-haspopup": "dialog", "aria-label": `${t("look")}: ${entry.alt}`, ...props,
    class: `look ${props.class ?? ""}`.trim(),
    onclick: async () => (await load("lightbox.js")).openLightbox(button),
  }, children);
  entries.set(button, entry);
  return button;
}

// Where a shown picture of the question comes from: { id } of the index, or what was sent of it.
const sources = new WeakMap();
export function from(source, node) {
  sources.set(node, source);
  return node;
}
export const sourceOf = (node) => sources.get(node);

export const entryOf = (button) => entries.get(button);

// All of a page in their order; more may come below while one looks.
export const looks = () => [...document.querySelectorAll("main .look")].filter((one) => one.checkVisibility());

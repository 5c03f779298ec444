// "More of this" and "less of this" under results: marks refine what was asked, and stand in the address.

import { h } from "./dom.js";
import { number, t } from "./strings.js";

const KINDS = [["liked", "moreSo", "M5 11v9H2v-9zM7 20h9.5c1 0 1.8-.6 2.1-1.6l2-7c.4-1.3-.5-2.4-1.8-2.4H14l.8-4.3C15 3.3 14 2 12.7 2L7 10.5z"],
  ["disliked", "lessSo", "M19 13V4h3v9zM17 4H7.5c-1 0-1.8.6-2.1 1.6l-2 7C3 13.9 3.9 15 5.2 15H10l-.8 4.3C9 20.7 10 22 11.3 22L17 13.5z"]];

// Filters with a mark set, taken away, or turned round.
export function marked(filters, kind, id) {
  const without = (name) => (filters[name] ?? []).filter((one) => one !== id);
  const had = filters[kind]?.includes(id);
  const next = { ...filters, liked: without("liked"), disliked: without("disliked") };
  if (!had) next[kind] = [...next[kind], id];
  return next;
}

export function markButtons(one, id, { filters, change }) {
  return KINDS.map(([kind, word, shape]) => h("button", {
    type: "button", class: "mark", id: `${kind}-${id}`, title: t(word), "aria-label": `${t(word)}: ${one.title}`,
    "aria-pressed": String(Boolean(filters[kind]?.includes(id))), onclick: () => change(marked(filters, kind, id)),
  }, h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: shape }))));
}

export function marksNote({ filters, change }) {
  const n = (filters.liked?.length ?? 0) + (filters.disliked?.length ?? 0);
  if (!n) return null;
  return h("p", { class: "notes" }, t("refined", { n: number(n) }), " ",
    h("button", { type: "button", class: "chip", onclick: () => change({ ...filters, liked: [], disliked: [] }) }, t("unmark"), " ×"));
}

// Asking by words: a title, an artist, a tag or a genre, in Korean or in Latin letters.

import { h } from "./dom.js";
import { t } from "./strings.js";
import { get } from "./api.js";

export function wordsForm(ask, value = "") {
  const input = h("input", { type: "search", id: "words", value, placeholder: t("wordsHint"), "aria-label": t("words"), maxlength: 200, autocomplete: "off" });
  return h("form", {
    class: "address", role: "search",
    onsubmit: (event) => { event.preventDefault(); if (input.value.trim()) ask(input.value.trim()); },
  }, input, h("button", { class: "button" }, t("ask")));
}

// Beside pictures words are a filter.
export const wordsField = (value, change) => h("input", {
  type: "search", id: "f-text", value: value ?? "", placeholder: t("words"), "aria-label": t("words"), maxlength: 200, autocomplete: "off",
  onchange: (event) => change(event.target.value.trim()),
});

// An answer by words alone: it says nothing of how near a style is.
export async function byWords(filters, signal) {
  const answer = await get("v1/text", filters, signal);
  for (const one of answer.titles ?? answer.pictures) {
    for (const hit of [one, ...one.pictures ?? []]) delete hit.percentile;
  }
  return answer;
}

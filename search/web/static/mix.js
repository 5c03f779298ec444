// Several pictures that are asked about together: how much each of them counts.

import { h } from "./dom.js";
import { t } from "./strings.js";

const STEP = 10;

// Whole percents, the largest 100.
function percents(weights) {
  const most = Math.max(...weights) || 1;
  return weights.map((weight) => Math.round((100 * weight) / most));
}

const textOf = (weights) => (weights.every((one) => one === weights[0]) ? null : weights.join(","));

// A slider for the picture at a place, where there are several. `change` takes the new filters.
export function countsField(answer, filters, place, name, change) {
  if (answer.weights.length < 2) return null;
  const counts = percents(answer.weights);
  const said = h("output", {}, `${counts[place]} %`);
  return h("label", { class: "counts" }, h("span", { class: "counts-word" }, t("counts")), h("input", {
    type: "range", id: `counts-${place}`, "aria-label": `${t("counts")}: ${name}`, min: 0, max: 100, step: STEP, value: counts[place],
    oninput: (event) => { said.textContent = `${event.target.value} %`; },
    onchange: (event) => {
      const next = counts.map((one, n) => (n === place ? Number(event.target.value) : one));
      change({ ...filters, weights: textOf(next) });
    },
  }), said);
}

// The filters without a picture of the index.
export function withoutPlace(answer, filters, place) {
  const own = answer.weights.length - answer.others.length;
  const rest = percents(answer.weights).filter((_, n) => n !== place);
  return { ...filters, with: filters.with.filter((_, n) => n !== place - own), weights: textOf(rest) };
}

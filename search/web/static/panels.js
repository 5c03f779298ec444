// The panels of a strip or page: small pictures, to be taken off or to ask with alone.

import { h, link, put } from "./dom.js";
import { number, t } from "./strings.js";

const SIDE_PX = 220; // of a small picture
const BEST = 3; // panels that are marked as those that carried the answer

// `pictures` are the blobs that were sent, by their place in the request, from 1; `choose` asks
// again with some of the panels, `whole` without cutting.
export function panelsView(answer, pictures, choose, whole) {
  if (!answer.panels.length) return null;
  const asking = answer.panels.filter((one) => one.asks);
  const best = new Set([...asking].sort((a, b) => b.similarity - a.similarity).slice(0, BEST));
  const boxes = answer.panels.map((one) => h("input", { type: "checkbox", value: one.panel, checked: one.asks, onchange: () => changed() }));
  const again = h("button", {
    type: "button", class: "button small again", disabled: true,
    onclick: () => choose(boxes.filter((box) => box.checked).map((box) => box.value)),
  }, t("askChosen"));
  const changed = () => {
    again.disabled = !boxes.some((box) => box.checked) || boxes.every((box, n) => box.checked === answer.panels[n].asks);
  };
  const images = new Map(); // one for each picture, however many panels it has
  return h("section", { class: "panels", "aria-label": t("panels") },
    h("h3", {}, t("panelsAsked", { n: number(asking.length), all: number(answer.panels.length) })),
    h("p", { class: "soft" }, t("panelsHelp")),
    h("ol", {}, answer.panels.map((one, n) => h("li", { class: best.has(one) ? "best" : null, title: one.similarity === null ? null : `cosine ${one.similarity.toFixed(3)}` },
      h("button", { type: "button", class: "alone", "aria-label": t("panelAlone", { n: number(one.panel) }), onclick: () => choose([one.panel]) },
        small(one, pictures, images)),
      h("label", {}, boxes[n], " ", h("span", { class: "hidden" }, t("panelCounts")), " ", number(one.panel))))),
    h("p", { class: "buttons" }, again,
      asking.length < answer.panels.length ? h("button", { type: "button", class: "button small all", onclick: () => choose([]) }, t("allPanels")) : null,
      h("button", { type: "button", class: "button small whole", onclick: whole }, t("useWhole"))));
}

// Its parts drawn one under the other.
function small(panel, pictures, images) {
  const width = Math.max(...panel.parts.map(({ box }) => box[2]));
  const height = panel.parts.reduce((sum, { box }) => sum + (box[3] * width) / box[2], 0);
  const scale = Math.min(1, SIDE_PX / Math.max(width, height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const pen = canvas.getContext("2d");
  let top = 0;
  for (const { picture, box: [x, y, w, hh] } of panel.parts) {
    const at = top;
    const tall = (hh * width * scale) / w;
    top += tall;
    const blob = pictures.get(picture);
    if (!blob) continue;
    if (!images.has(picture)) images.set(picture, loaded(blob));
    images.get(picture).then((image) => pen.drawImage(image, x, y, w, hh, 0, at, width * scale, tall), () => {});
  }
  return canvas;
}

function loaded(blob) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  return image.decode().then(() => image).finally(() => URL.revokeObjectURL(url));
}

// What the server says of strips, in the page's language; null for anything else.
const NOTES = [
  [/^cut into ([\d,]+) panels?(?:, of which ([\d,]+) ask)?/, (found) => (found[2] ? t("cutSome", { n: found[2], all: found[1] }) : t("cutInto", { n: found[1] }))],
  [/^joined as slices of one strip/, () => t("joinedSlices")],
  [/^what looks like advertisements did not ask/, () => t("advertisements")],
  [/^of the animation (.*) one frame was cut/, (found) => t("oneFrame", { name: found[1] })],
  [/^slices seem to be missing: (.*)/, (found) => t("missingSlices", { names: found[1] })],
  [/^no gutter in ([\d,]+) rows/, (found) => t("noGutter", { n: found[1] })],
  [/^(.*) repeats what is above it/, (found) => t("repeatedSlice", { name: found[1] })],
  [/^(.*) repeats ([\d,]+) rows of the slice above it/, (found) => t("repeatedRows", { name: found[1], n: found[2] })],
  [/^(.*) is \d+ px wide, not (\d+): scaled/, (found) => t("scaledSlice", { name: found[1], n: found[2] })],
];

export function panelNote(note) {
  for (const [pattern, say] of NOTES) {
    const found = pattern.exec(note);
    if (found) return say(found);
  }
  return null;
}

// Asks for the panels of what was asked about whole.
export const cutButton = (cut) => put(h("p", {}), [h("button", { type: "button", class: "button small cut", onclick: cut }, t("cutAgain"))]);

// Where a panel that was found lies, with a link to its episode.
export function panelPlace(hit, title) {
  if (!hit.panel) return null;
  const { episode, order, url } = hit.panel;
  const place = episode === null ? t("panelNumber", { n: number(order) }) : t("panelOfEpisode", { n: number(order), episode: number(episode) });
  return [" · ", url || title.url ? link(url || title.url, place) : place];
}

// Choosing a part of a picture with the mouse, a finger, or the keys.

import { h } from "./dom.js";
import { t } from "./strings.js";

const MIN = 0.02;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Resolves to "x%,y%,w%,h%", to null for the whole picture, to undefined when nothing changed.
export function cropDialog(url, before) {
  let box = before ? before.split(",").map((part) => parseFloat(part) / 100) : [0.15, 0.15, 0.7, 0.7];
  const part = h("div", { class: "part", tabindex: 0, role: "application", "aria-label": t("cropHelp") });
  const image = h("img", { src: url, alt: t("yourPicture", { n: "" }), draggable: "false" });
  const stage = h("div", { class: "stage" }, image, part);
  const draw = () => {
    const [x, y, w, hh] = box;
    Object.assign(part.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * w}%`, height: `${100 * hh}%` });
  };
  draw();
  let start = null;
  const at = (event) => {
    const frame = image.getBoundingClientRect();
    return [clamp((event.clientX - frame.left) / frame.width, 0, 1), clamp((event.clientY - frame.top) / frame.height, 0, 1)];
  };
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    part.focus();
    stage.setPointerCapture(event.pointerId);
    start = at(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    const next = [Math.min(x, start[0]), Math.min(y, start[1]), Math.abs(x - start[0]), Math.abs(y - start[1])];
    if (next[2] >= MIN && next[3] >= MIN) { box = next; draw(); }
  });
  stage.addEventListener("pointerup", () => { start = null; });
  stage.addEventListener("pointercancel", () => { start = null; });
  part.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02] }[event.key];
    if (!step) return;
    event.preventDefault();
    if (event.shiftKey) {
      box[2] = clamp(box[2] + step[0], MIN, 1 - box[0]);
      box[3] = clamp(box[3] + step[1], MIN, 1 - box[1]);
    } else {
      box[0] = clamp(box[0] + step[0], 0, 1 - box[2]);
      box[1] = clamp(box[1] + step[1], 0, 1 - box[3]);
    }
    draw();
  });
  return new Promise((resolve) => {
    let chosen;
    const done = (value) => { chosen = value; dialog.close(); };
    const dialog = h("dialog", { class: "cropper", "aria-labelledby": "crop-title" },
      h("h2", { id: "crop-title" }, t("cropTitle")), h("p", { class: "soft" }, t("cropHelp")), stage,
      h("p", { class: "buttons" },
        h("button", { type: "button", class: "button main use", onclick: () => done(box.map((v) => `${(100 * v).toFixed(2)}%`).join(",")) }, t("useCrop")),
        h("button", { type: "button", class: "button", onclick: () => done(null) }, t("useWhole")),
        h("button", { type: "button", class: "button", onclick: () => done(undefined) }, t("cancel"))));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(chosen); });
    document.body.append(dialog);
    dialog.showModal();
    part.focus();
  });
}

// Choosing a part of a picture with the mouse, a finger, or the keys.

import { h } from "./dom.js";
import { t } from "./strings.js";
import { boxOf } from "./shrink.js";

const MIN = 0.02; // of the shorter side
const STRIP = 2.5; // a picture so many times as long as wide is shown at full width and scrolled
const EDGE_PX = 40; // a drag so near the edge scrolls on
const CORNERS = ["nw", "ne", "sw", "se"];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Resolves to "x%,y%,w%,h%", to null for the whole picture, to undefined when nothing changed.
export function cropDialog(url, before) {
  let box = [0.15, 0.15, 0.7, 0.7]; // shares of the picture
  let least = [MIN, MIN];
  let strip = false;
  const grips = CORNERS.map((corner) => h("span", { class: `grip ${corner}` }));
  const part = h("div", { class: "part", tabindex: 0, role: "application", "aria-label": t("cropHelp") }, grips);
  const image = h("img", { src: url, alt: t("yourPicture", { n: "" }), draggable: "false" });
  const sheet = h("div", { class: "sheet" }, image, part);
  const stage = h("div", { class: "stage" }, sheet);
  const draw = () => {
    const [x, y, w, hh] = box;
    Object.assign(part.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * w}%`, height: `${100 * hh}%` });
  };
  draw();
  image.addEventListener("load", () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    const short = Math.min(width, height);
    least = [(MIN * short) / width, (MIN * short) / height];
    strip = Math.max(width, height) > STRIP * short;
    if (strip) {
      const tall = height > width;
      stage.classList.add(tall ? "tall" : "wide");
      const seen = 0.85 * (tall ? stage.clientHeight / image.clientHeight : stage.clientWidth / image.clientWidth);
      box = tall ? [0, 0, 1, Math.min(width / height, seen)] : [0, 0, Math.min(height / width, seen), 1];
    }
    if (before) box = boxOf(before, { naturalWidth: 1, naturalHeight: 1 });
    draw();
    part.scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  let anchor = null; // the corner that stays while another is dragged
  let finger = null; // where a finger came down that may scroll
  let pointer = null;
  const at = ({ clientX, clientY }) => {
    const frame = image.getBoundingClientRect();
    return [clamp((clientX - frame.left) / frame.width, 0, 1), clamp((clientY - frame.top) / frame.height, 0, 1)];
  };
  const stretch = () => {
    const [x, y] = at(pointer);
    const next = [Math.min(x, anchor[0]), Math.min(y, anchor[1]), Math.abs(x - anchor[0]), Math.abs(y - anchor[1])];
    if (next[2] >= least[0] && next[3] >= least[1]) { box = next; draw(); }
  };
  const scrollOn = () => {
    if (!anchor) return;
    const frame = stage.getBoundingClientRect();
    const [x, y] = at(pointer);
    const over = (value, low, high, back) => (back ? Math.min(0, value - low - EDGE_PX) : Math.max(0, value - high + EDGE_PX));
    const dx = over(pointer.clientX, frame.left, frame.right, x < anchor[0]);
    const dy = over(pointer.clientY, frame.top, frame.bottom, y < anchor[1]);
    if (dx || dy) {
      stage.scrollBy({ left: dx / 3, top: dy / 3, behavior: "instant" });
      stretch();
    }
    requestAnimationFrame(scrollOn);
  };
  sheet.addEventListener("pointerdown", (event) => {
    const corner = CORNERS[grips.indexOf(event.target)];
    if (!corner && strip && event.pointerType === "touch") { finger = event; return; }
    event.preventDefault();
    part.focus({ preventScroll: true });
    sheet.setPointerCapture(event.pointerId);
    const [x, y, w, hh] = box;
    anchor = corner ? [corner.endsWith("w") ? x + w : x, corner.startsWith("n") ? y + hh : y] : at(event);
    pointer = event;
    if (strip) requestAnimationFrame(scrollOn);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!anchor) return;
    pointer = event;
    stretch();
  });
  sheet.addEventListener("pointerup", (event) => {
    if (finger && Math.hypot(event.clientX - finger.clientX, event.clientY - finger.clientY) < 10) {
      const [x, y] = at(event); // a tap puts the frame there
      box = [clamp(x - box[2] / 2, 0, 1 - box[2]), clamp(y - box[3] / 2, 0, 1 - box[3]), box[2], box[3]];
      draw();
    }
    anchor = finger = null;
  });
  sheet.addEventListener("pointercancel", () => { anchor = finger = null; });
  part.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    for (const axis of [0, 1]) {
      const by = step[axis] * least[axis];
      if (event.shiftKey) box[axis + 2] = clamp(box[axis + 2] + by, least[axis], 1 - box[axis]);
      else box[axis] = clamp(box[axis] + by, 0, 1 - box[axis + 2]);
    }
    draw();
    part.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  return new Promise((resolve) => {
    let chosen;
    const done = (value) => { chosen = value; dialog.close(); };
    const dialog = h("dialog", { class: "cropper", "aria-labelledby": "crop-title" },
      h("h2", { id: "crop-title" }, t("cropTitle")), h("p", { class: "soft" }, t("cropHelp")), stage,
      h("p", { class: "buttons" },
        h("button", { type: "button", class: "button main use", onclick: () => done(box.map((v) => `${(100 * v).toFixed(4)}%`).join(",")) }, t("useCrop")),
        h("button", { type: "button", class: "button", onclick: () => done(null) }, t("useWhole")),
        h("button", { type: "button", class: "button", onclick: () => done(undefined) }, t("cancel"))));
    dialog.addEventListener("close", () => { anchor = null; dialog.remove(); resolve(chosen); });
    document.body.append(dialog);
    dialog.showModal();
    part.focus({ preventScroll: true });
  });
}

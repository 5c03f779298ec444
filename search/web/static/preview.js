// A picture that asks, as the page shows it.

import { h, put } from "./dom.js";
import { t } from "./strings.js";
import { from } from "./look.js";
import { boxOf } from "./shrink.js";

// What is asked about: the whole picture, or its part drawn on a canvas. `panels`
// gives those of the answer, once it is there.
export function preview(one, n, panels) {
  const alt = t("yourPicture", { n: n + 1 });
  const mat = h("span", { class: "mat" });
  const panelOf = (entry) => panels().find((panel) => panel.panel === entry.asked_by);
  const partOf = (entry) => panelOf(entry)?.parts.find((part) => part.picture === one.place);
  const source = { url: one.url, sent: () => one.sent, part: partOf };
  // A strip is shown at full width, to be scrolled.
  const shaped = (width, height) => {
    if (Math.max(width, height) < 3 * Math.min(width, height)) return;
    mat.classList.add(height > width ? "tall" : "wide");
    mat.tabIndex = 0;
  };
  if (!one.crop) {
    const image = h("img", { class: "query", src: one.url, alt, onload: () => shaped(image.naturalWidth, image.naturalHeight) });
    return put(mat, [from(source, image)]);
  }
  const canvas = h("canvas", { class: "query", role: "img", "aria-label": alt });
  const image = new Image();
  image.onload = () => {
    const [x, y, w, hh] = boxOf(one.crop, image);
    const scale = Math.min(1, 800 / Math.min(w, hh), 8000 / Math.max(w, hh));
    canvas.width = Math.max(1, w * scale);
    canvas.height = Math.max(1, hh * scale);
    canvas.getContext("2d").drawImage(image, x, y, w, hh, 0, 0, canvas.width, canvas.height);
    shaped(w, hh);
  };
  image.src = one.url;
  return put(mat, [from(source, canvas)]);
}

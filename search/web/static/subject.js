// How much what a picture shows counts besides the style that it is drawn in.

import { h } from "./dom.js";
import { t } from "./strings.js";

// A slider from style to subject; `change` is called with the share, "" for style alone.
export function subjectSlider(value, change) {
  const said = (share) => (Number(share) ? t("subjectShare", { p: Math.round(100 * share) }) : t("styleAlone"));
  const input = h("input", {
    type: "range", id: "f-subject", min: 0, max: 1, step: 0.1, value: value ?? 0, "aria-label": t("subjectLabel"), "aria-valuetext": said(value ?? 0),
    oninput: () => input.setAttribute("aria-valuetext", said(input.value)),
    onchange: () => change(Number(input.value) ? input.value : ""),
  });
  return h("span", { class: "subject", title: t("subjectHelp") }, h("span", { "aria-hidden": "true" }, t("style")), input, h("span", { "aria-hidden": "true" }, t("subject")));
}

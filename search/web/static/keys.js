// Keys for those who do without a mouse: through results, to the search field, and what there is.

import { h } from "./dom.js";
import { t } from "./strings.js";
import { go } from "./app.js";
import { nextPlace } from "./view.js";

const STORED = "keys";
const MOVES = { j: 1, k: -1 };
const KEYS = [
  ["keysResults", [["j", "k"], "keyStep"], [["Enter"], "keyLook"], [["/"], "keySearch"], [["?"], "keyHelp"]],
  ["keysLook", [["←", "→"], "keyStep"], [["+", "−", "0"], "keyZoom"], [["Shift ←", "↑", "→", "↓"], "keyPan"], [["w"], "why"], [["Esc"], "keyClose"]],
];

const on = () => {
  try { return localStorage.getItem(STORED) !== "off"; } catch { return true; }
};

function stepThrough(step) {
  const items = [...document.querySelectorAll("main .cards > .card, main .grid > li, main .people > li")].filter((one) => one.checkVisibility());
  if (!items.length) return;
  const focused = items.findIndex((one) => one.contains(document.activeElement));
  const place = nextPlace(items.map((one) => one.getBoundingClientRect().top), focused, step);
  items[place].scrollIntoView({ block: "nearest" });
  items[place].querySelector("a, button")?.focus();
}

function toSearch() {
  const field = document.querySelector("main .finder input[type=search]");
  if (field) {
    field.focus();
    return;
  }
  go("browse");
  focusLater(40);
}

// The page that has the field is still being made.
function focusLater(tries) {
  const field = document.querySelector("main .finder input[type=search]");
  if (field) field.focus();
  else if (tries) setTimeout(focusLater, 50, tries - 1);
}

export function keysDialog() {
  const row = ([keys, what]) => h("div", {}, h("dt", {}, keys.map((key) => [h("kbd", {}, key), " "])), h("dd", {}, t(what)));
  const choice = h("input", {
    type: "checkbox", checked: on(),
    onchange: () => { try { localStorage.setItem(STORED, choice.checked ? "on" : "off"); } catch { /* private mode */ } },
  });
  const dialog = h("dialog", { class: "cropper keys", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, t("keys")),
    KEYS.map(([heading, ...rows]) => [h("h3", {}, t(heading)), h("dl", {}, rows.map(row))]),
    h("p", {}, h("label", { class: "check" }, choice, t("keysOn"))),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, t("close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

const isField = (node) => node instanceof Element && Boolean(node.closest("input:not([type=checkbox]), textarea, select"));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (!on() || isField(event.target) || document.querySelector("dialog[open]")) return;
  const act = MOVES[event.key] ? () => stepThrough(MOVES[event.key]) : { "/": toSearch, "?": keysDialog }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// How a list of results is seen: how dense, and more of it as one scrolls.

import { h, say } from "./dom.js";
import { number, t } from "./strings.js";

const DENSITIES = ["cards", "largePictures", "contactSheet"];
const KEY = "density";

const stored = () => {
  try { return DENSITIES.find((one) => one === localStorage.getItem(KEY)) ?? DENSITIES[0]; } catch { return DENSITIES[0]; }
};

export function densitySwitch() {
  const choose = (event) => {
    try { localStorage.setItem(KEY, event.target.value); } catch { /* private mode */ }
    for (const list of document.querySelectorAll(".cards")) list.dataset.density = event.target.value;
  };
  return h("select", { id: "f-density", "aria-label": t("density"), onchange: choose },
    DENSITIES.map((one) => h("option", { value: one, selected: one === stored() }, t(one))));
}

export const cardList = (children, props = {}) => h("ol", { class: "cards", "data-density": stored(), ...props }, children);

// The names of results that two answers to one query share.
const nameOf = (one) => one.pictures ? one.title_id : `${one.picture_id} ${one.title_id}`;

// Those of a longer answer that the list does not show yet. Its order may differ from the shorter
// one's, so whatever is missing is added, not whatever stands below.
export function unseen(found, shown) {
  const known = new Set(shown.map(nameOf));
  return found.filter((one) => !known.has(nameOf(one)));
}

// The button under a list that asks for more of the same answer, when it is pressed or scrolled into
// view. `ask(k)` gives all results up to k; `add(results)` shows new ones. Each length is asked for
// once: nothing is asked while an answer is on its way, and after an error only when it is pressed.
export function comingMore(first, { k, most, step, ask, add }) {
  let shown = first;
  let asking = null;
  const button = h("button", { type: "button", class: "button more", onclick: () => more() }, t("more"));
  const place = h("p", { class: "buttons" }, button);
  const watch = new IntersectionObserver(([seen]) => { if (seen.isIntersecting) more(); }, { rootMargin: "400px" });

  async function next() {
    const wanted = Math.min(k + step, most);
    button.setAttribute("aria-busy", "true");
    try {
      const found = await ask(wanted);
      const fresh = unseen(found, shown);
      k = wanted;
      shown = [...shown, ...fresh];
      add(fresh, k);
      say(t("found", { n: number(shown.length) }));
      if (found.length < wanted || wanted >= most) {
        watch.disconnect();
        place.remove();
      } else { // look again: a short page may leave the button in view
        watch.unobserve(button);
        watch.observe(button);
      }
      return fresh.length > 0;
    } catch (error) {
      watch.disconnect();
      if (error.name === "AbortError") return false; // another page is shown
      throw error;
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
  const more = () => (asking ??= next().finally(() => { asking = null; }));
  place.more = more;
  // Whoever does not scroll has no use for more.
  addEventListener("scroll", () => watch.observe(button), { once: true, passive: true });
  return place;
}

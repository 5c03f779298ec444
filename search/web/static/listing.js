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

// What a longer answer adds below the one that is shown; null when its order is another one, since a
// title may come up with more of its pictures.
export function added(found, shown) {
  const isSame = shown.every((one, n) => found[n] && nameOf(found[n]) === nameOf(one));
  return isSame ? found.slice(shown.length) : null;
}

// The button under a list that asks for more of the same answer, when it is pressed or scrolled into
// view. `ask(k)` gives all results up to k, `show(results, k)` shows them; what stands there already
// stays. Each length is asked for once: nothing is asked while an answer is on its way, and after an
// error only when it is pressed.
export function comingMore({ k, most, step, ask, show }) {
  let asking = null;
  const button = h("button", { type: "button", class: "button more", onclick: () => more() }, t("more"));
  const place = h("p", { class: "buttons" }, button);
  const watch = new IntersectionObserver(([seen]) => { if (seen.isIntersecting) more(); }, { rootMargin: "400px" });

  async function next() {
    const wanted = Math.min(k + step, most);
    button.setAttribute("aria-busy", "true");
    try {
      const found = await ask(wanted);
      k = wanted;
      show(found, k);
      say(t("found", { n: number(found.length) }));
      if (found.length < wanted || wanted >= most) {
        watch.disconnect();
        place.remove();
      } else { // look again: a short page may leave the button in view
        watch.unobserve(button);
        watch.observe(button);
      }
    } catch (error) {
      watch.disconnect();
      if (error.name !== "AbortError") throw error; // unless another page is shown
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

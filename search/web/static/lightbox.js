// A found picture as large as the screen allows, beside what was asked; both grow and move in step.

import { fill, h, picture } from "./dom.js";
import { number, t } from "./strings.js";
import { withParams } from "./api.js";
import { saveButton } from "./account.js";
import { load } from "./api.js";
import { askWith } from "./ask.js";
import { entryOf, looks, sourceOf } from "./look.js";
import { fitted, room, zoomed } from "./view.js";

const STEP_PX = 80;
const SWIPE_PX = 60;
const TAP_MS = 300;
const limit = (value, most) => Math.min(Math.max(value, -most), most);

// One frame with one picture in it.
function pane(kind) {
  const stage = h("div", { class: "stage-large" });
  const caption = h("figcaption", { class: "soft" });
  let media = null;
  let natural = null;
  let cover = null; // makes what lies over it
  let over = [];
  const frame = () => [stage.clientWidth, stage.clientHeight];
  const size = () => fitted(natural, frame());
  return {
    node: h("figure", { class: `pane ${kind}` }, caption, stage), stage, caption,
    show(shown, width, height) {
      media = shown;
      natural = width && height ? [width, height] : null;
      this.cover(cover);
    },
    cover(made) {
      cover = made;
      over = cover && natural ? cover(natural) : [];
      fill(stage, media, over);
    },
    limits: (zoom) => (natural ? room(size(), frame(), zoom) : [0, 0]),
    draw({ zoom, x, y }) {
      if (!natural) return;
      const [w, hh] = size();
      const [wide, high] = frame();
      const [mx, my] = room([w, hh], [wide, high], zoom);
      for (const layer of [media, ...over]) {
        Object.assign(layer.style, {
          width: `${w}px`, height: `${hh}px`, left: `${(wide - w) / 2}px`, top: `${(high - hh) / 2}px`,
          transform: `translate(${limit(x, mx)}px, ${limit(y, my)}px) scale(${zoom})`,
        });
      }
    },
  };
}

// What is asked about, as the page shows it.
function askedPictures() {
  return [...document.querySelectorAll("main img.query, main canvas.query")].map((node) => Object.assign(() => {
    if (node.tagName === "IMG") return h("img", { src: node.src.replace(/size=\w+/, "size=large"), alt: node.alt, draggable: "false" });
    const copy = h("canvas", { width: node.width, height: node.height, role: "img", "aria-label": node.getAttribute("aria-label") });
    copy.getContext("2d").drawImage(node, 0, 0);
    return copy;
  }, { source: sourceOf(node) }));
}

const loaded = (image) => new Promise((resolve) => {
  if (image.tagName !== "IMG" || image.complete) return void resolve();
  image.addEventListener("load", resolve, { once: true });
  image.addEventListener("error", resolve, { once: true });
});

// `back` is what has the focus afterwards; without it, the picture that was looked at last.
export function openLightbox(opener, asked = askedPictures(), back = null) {
  let at = opener;
  let view = { zoom: 1, x: 0, y: 0 };
  let atStart = true; // nothing was moved yet: strips begin at their start
  let sideways = false; // whether there is more to the left or right
  let turn = 0;
  let shownAsked = 0;
  let isWhy = false;
  const mine = asked.length ? pane("asked-pane") : null;
  const found = pane("found-pane");
  const panes = [mine, found].filter(Boolean);
  const title = h("h2", { id: "look-title" });
  const about = h("div", { class: "look-about" });
  const place = h("span", { class: "soft place" });
  const actions = h("span", { class: "look-actions" });
  const button = (key, sign, act) => h("button", { type: "button", class: "button small", "aria-label": t(key), title: t(key), onclick: (event) => { if (event.currentTarget.getAttribute("aria-disabled") !== "true") act(); } }, sign);
  const whyNote = h("p", { class: "why-note soft", role: "status", hidden: true });
  const whyButton = h("button", { type: "button", class: "button small", "aria-pressed": "false", onclick: () => turnWhy(!isWhy) }, t("why"));
  const before = button("previous", "←", () => step(-1));
  const after = button("next", "→", () => step(1));
  const dialog = h("dialog", { class: "lightbox", "aria-labelledby": "look-title" },
    h("div", { class: "look-head" }, h("div", { "aria-live": "polite" }, title, about),
      h("button", { type: "button", class: "button small", "aria-label": t("close"), title: t("close"), onclick: () => dialog.close() }, "×")),
    h("div", { class: "panes" }, panes.map((one) => one.node)), whyNote,
    h("div", { class: "look-foot" }, before, after, place,
      button("zoomOut", "−", () => zoomBy(1 / 1.5)), button("zoomIn", "+", () => zoomBy(1.5)), button("wholePicture", "⤢", reset),
      asked.some((one) => one.source) ? whyButton : null, actions));

  function draw() {
    const most = panes.map((one) => one.limits(view.zoom));
    const [mx, my] = [0, 1].map((axis) => Math.max(...most.map((one) => one[axis])));
    sideways = mx > 0;
    if (atStart) view = { zoom: 1, x: mx, y: my };
    view = { ...view, x: limit(view.x, mx), y: limit(view.y, my) };
    for (const one of panes) one.draw(view);
    found.stage.dataset.zoom = view.zoom.toFixed(2);
  }
  function move(next) { atStart = false; view = next; draw(); }
  const zoomBy = (factor, point) => move(zoomed(view, factor, point));
  function reset() { atStart = true; draw(); }

  async function put(one, media, isWanted = () => true) {
    await loaded(media);
    if (!isWanted()) return;
    one.show(media, media.naturalWidth ?? media.width, media.naturalHeight ?? media.height);
    draw();
  }

  function showFound() {
    const entry = entryOf(at);
    const all = looks();
    const n = all.indexOf(at);
    const my = ++turn;
    fill(title, entry.rank ? h("span", { class: "rank" }, entry.rank, " ") : null,
      entry.title_id ? h("a", { href: withParams("title", { id: entry.title_id }), onclick: leave }, entry.title ?? entry.title_id) : entry.title);
    fill(about, h("span", {}, [(entry.authors ?? []).join(", ") || t("authorUnknown"), entry.year].filter(Boolean).join(" · ")), entry.about?.());
    place.textContent = n < 0 ? "" : `${number(n + 1)} / ${number(all.length)}`;
    before.setAttribute("aria-disabled", n <= 0); // not disabled: it would lose the focus, and the keys with it
    after.setAttribute("aria-disabled", n === all.length - 1 && !more());
    fill(actions, document.querySelector("main .answer") ? h("button", { type: "button", class: "plain with", onclick: () => { at = null; dialog.close(); askWith(entry.picture_id); } }, t("askWith")) : null,
      h("a", { class: "plain similar", href: withParams("./", { like: entry.picture_id, exclude_title: entry.title_id }), onclick: leave }, t("similar")),
      saveButton(entry, entry.picture_id));
    fill(found.caption, mine ? t("hit") : null);
    const small = at.querySelector("img");
    const large = picture(entry.picture_id, entry.alt, { size: "large", eager: true });
    large.draggable = false;
    if (small?.naturalWidth) put(found, h("img", { src: small.src, alt: entry.alt, draggable: "false" }), () => my === turn && !large.isConnected);
    else found.show(h("span", { class: "spinner" }));
    large.addEventListener("error", () => { if (my === turn && !small?.naturalWidth) found.show(h("span", { class: "missing", role: "img", "aria-label": entry.alt })); });
    large.addEventListener("load", () => put(found, large, () => my === turn));
    explainLater();
    const next = all[n + 1];
    if (next) new Image().src = `v1/pictures/${encodeURIComponent(entryOf(next).picture_id)}?size=large`;
  }

  // Why they are alike, over both pictures; asked for again with each result that one stays at.
  let waiting = 0;
  function turnWhy(on) {
    isWhy = on;
    whyButton.setAttribute("aria-pressed", String(on));
    whyNote.hidden = !on;
    explainLater(0);
  }
  function explainLater(wait = 350) {
    clearTimeout(waiting);
    for (const one of panes) one.cover(null);
    if (!isWhy) return;
    fill(whyNote, h("span", { class: "spinner" }), t("whyWait"));
    waiting = setTimeout(explainPair, wait);
  }
  async function explainPair() {
    const my = turn;
    const entry = entryOf(at);
    const source = askedBy(entry);
    if (source !== asked[shownAsked]) showAsked(asked.indexOf(source));
    const isWanted = () => my === turn && isWhy && dialog.open && source === asked[shownAsked];
    try {
      const { why, heat } = await load("why.js");
      const maps = await why(source.source, entry);
      if (!isWanted()) return;
      for (const [one, map] of [[mine, maps.query], [found, maps.hit]]) one.cover((size) => heat(map, size));
      draw();
      whyNote.textContent = t(maps.query.even && maps.hit.even ? "whyEven" : "whyMeans");
    } catch (error) {
      if (isWanted()) whyNote.textContent = error.full ?? error.message;
    }
  }
  // The picture of the question that found it: where some were cut, that of its panel.
  const askedBy = (entry) => asked.find((one) => one.source?.part?.(entry)) ?? (asked[shownAsked].source ? asked[shownAsked] : asked.find((one) => one.source));

  const more = () => document.querySelector("main .found .more")?.parentElement.more;
  async function step(by) {
    let all = looks();
    const n = all.indexOf(at);
    if (n + by >= all.length && more()) {
      await more()();
      all = looks();
    }
    if (!dialog.open || n < 0 || !all[n + by]) return;
    at = all[n + by];
    atStart = true;
    showFound();
  }
  function leave(event) { // the link is followed by the page, without the lightbox
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) { at = null; dialog.close(); }
  }

  function showAsked(n) {
    shownAsked = n;
    mine.cover(null);
    fill(mine.caption, t("yourPicture", { n: asked.length > 1 ? n + 1 : "" }), asked.length < 2 ? null : asked.map((_, other) =>
      h("button", { type: "button", class: "plain", "aria-pressed": String(other === n), "aria-label": t("yourPicture", { n: other + 1 }), onclick: () => { showAsked(other); explainLater(); mine.caption.querySelectorAll("button")[other].focus(); } }, other + 1)));
    put(mine, asked[n]());
  }

  const keys = (event) => {
    const other = event.target instanceof Element && event.target.closest("dialog");
    if (event.ctrlKey || event.metaKey || event.altKey || (other && other !== dialog)) return;
    const push = (x, y) => move({ ...view, x: view.x + x * STEP_PX, y: view.y + y * STEP_PX });
    const act = event.shiftKey
      ? { ArrowLeft: () => push(1, 0), ArrowRight: () => push(-1, 0), ArrowUp: () => push(0, 1), ArrowDown: () => push(0, -1), "+": () => zoomBy(1.5) }
      : { ArrowLeft: () => step(-1), ArrowRight: () => step(1), k: () => step(-1), j: () => step(1), w: () => { if (whyButton.isConnected) turnWhy(!isWhy); }, ArrowUp: () => push(0, 1), ArrowDown: () => push(0, -1), "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: reset };
    const chosen = act[event.key];
    if (!chosen) return;
    event.preventDefault();
    chosen();
  };
  addEventListener("keydown", keys);
  for (const one of panes) follow(one.stage, { view: () => view, move, zoomBy, reset, step, swipes: () => view.zoom === 1 && !sideways });

  const watch = new ResizeObserver(draw);
  watch.observe(found.stage);
  const gone = () => { if (at) { at = null; dialog.close(); } };
  addEventListener("popstate", gone);
  dialog.addEventListener("close", () => {
    watch.disconnect();
    removeEventListener("popstate", gone);
    removeEventListener("keydown", keys);
    dialog.remove();
    if (!at) return;
    if (!back && at !== opener) at.scrollIntoView({ block: "nearest" });
    (back ?? at).focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  if (mine) showAsked(0);
  showFound();
  after.focus();
}

// Mouse, wheel and fingers on a frame: drag, zoom at the place, pinch, double tap, swipe.
function follow(stage, { view, move, zoomBy, reset, step, swipes }) {
  const fingers = new Map();
  let start = null;
  let lastTap = 0;
  const fromMiddle = (x, y) => {
    const box = stage.getBoundingClientRect();
    return [x - box.left - box.width / 2, y - box.top - box.height / 2];
  };
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) / 400), fromMiddle(event.clientX, event.clientY));
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    start = fingers.size === 1 ? event : null; // two fingers are neither a tap nor a swipe
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
    fingers.set(event.pointerId, event);
    if (other) {
      const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      const middle = fromMiddle((event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
      zoomBy(far(event) / far(before), middle);
      move({ ...view(), x: view().x + dx / 2, y: view().y + dy / 2 });
    } else {
      move({ ...view(), x: view().x + dx, y: view().y + dy });
    }
  });
  stage.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (!start) return;
    const [dx, dy] = [event.clientX - start.clientX, event.clientY - start.clientY];
    start = null;
    if (Math.hypot(dx, dy) < 8) {
      const again = event.timeStamp - lastTap < TAP_MS;
      lastTap = again ? 0 : event.timeStamp;
      if (again && view().zoom > 1) reset();
      else if (again) zoomBy(2.5, fromMiddle(event.clientX, event.clientY));
    } else if (event.pointerType === "touch" && swipes() && Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy)) {
      step(dx < 0 ? 1 : -1);
    }
  });
  stage.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); start = null; });
}

// The map of styles: every picture as a point, what they are called, and where the query lies.

import { fill, h, later, mounted, picture, say } from "./dom.js";
import { number, t } from "./strings.js";
import { get, load, withParams } from "./api.js";
import { lookButton } from "./look.js";
import { askedImages } from "./ask.js";
import { hueOf, mapView } from "./map_view.js";

const BYTES = 10;
const KINDS = ["author", "genre", "era"];
const STORED = ["genre", "era", "author"]; // in the order of the server's numbers
const LISTED = 24;
const FEW = 12; // labels of a legend that are seen at once

export async function mapPage(main, params, signal) {
  document.title = `${t("map")} – toonsearch`;
  const state = await get("v1/map", {}, signal);
  if (state.state !== "ready") return void fill(main, h("p", { class: "message" }, t("noMap")));
  const [answer, asked] = await Promise.all([fetch("v1/map/points", { signal }), placeOf(params, signal)]);
  draw(main, state, pointsOf(await answer.arrayBuffer()), asked, signal);
}

// Five numbers of 16 bits for each point.
export function pointsOf(buffer) {
  const view = new DataView(buffer);
  const count = Math.floor(view.byteLength / BYTES);
  const points = { count, x: new Float32Array(count), y: new Float32Array(count) };
  for (const kind of STORED) points[kind] = new Uint16Array(count);
  for (let n = 0; n < count; n += 1) {
    points.x[n] = view.getUint16(n * BYTES, true) / 65535;
    points.y[n] = view.getUint16(n * BYTES + 2, true) / 65535;
    STORED.forEach((kind, place) => { points[kind][n] = view.getUint16(n * BYTES + 4 + 2 * place, true); });
  }
  return points;
}

// Where the query lies, with its pictures; null for none, and when it is no longer known.
async function placeOf(params, signal) {
  const [result, like] = [params.get("r"), params.get("like")];
  if (!result && !like) return null;
  const found = await get("v1/map/place", result ? { result } : { picture: like }, signal);
  const images = like ? [picture(like, t("yourPicture", { n: "" }), { kind: "query", eager: true })] : askedImages(result);
  return { ...found, images, back: withParams("./", result ? { r: result } : { like }) };
}

function draw(main, state, points, asked, signal) {
  const kinds = KINDS.filter((kind) => state.labels[kind].length > 1);
  const known = new Map(); // number -> what it is
  const chosen = { kind: kinds[0] ?? "genre", labels: new Set(), found: null };
  const list = h("ul", { class: "grid" });
  const legend = h("ul", { class: "legend" });
  const whole = h("button", { type: "button", class: "plain", "aria-expanded": "false", onclick: () => { const open = whole.getAttribute("aria-expanded") !== "true"; whole.setAttribute("aria-expanded", open); key(); } });
  const buttons = new Map(); // of the pictures in the list, by number
  const bright = (n) => (!chosen.labels.size || chosen.labels.has(points[chosen.kind][n])) && (!chosen.found || chosen.found.has(n));
  const view = mapView({
    points, asked, known,
    hue: (n) => hueOf(chosen.kind, points[chosen.kind][n], state.labels[chosen.kind].length),
    isBright: (n) => bright(n),
    settled: later(settle, 200), learn, open,
  });

  async function learn(numbers) {
    const missing = numbers.filter((n) => !known.has(n)).slice(0, 60);
    if (!missing.length) return;
    const { pictures } = await get("v1/map/pictures", { n: missing }, signal);
    for (const one of pictures) known.set(one.n, one);
  }

  // The list under the map: of what is in view and bright, some spread evenly, and the named one first.
  async function settle(first) {
    if (signal.aborted) return;
    const there = view.inView().filter(bright);
    const every = Math.max(1, there.length / LISTED);
    const few = first === undefined ? [] : [first];
    for (let n = 0; n < there.length && few.length < LISTED; n += every) {
      const one = there[Math.floor(n)];
      if (one !== first) few.push(one);
    }
    await learn(few).catch((error) => { if (error.name !== "AbortError") say(error.message); });
    buttons.clear();
    fill(list, few.filter((n) => known.has(n)).map((n) => {
      const one = known.get(n);
      const entry = { ...one, authors: one.author ? [one.author] : [], alt: t("pictureOf", { title: one.title }) };
      buttons.set(n, lookButton(entry, {}, mounted(one.picture_id, "", { size: "small" })));
      return h("li", {}, buttons.get(n), h("a", { href: withParams("title", { id: one.title_id }) }, one.title),
        h("span", { class: "soft" }, [one.author, one.year].filter(Boolean).join(", ")));
    }));
    if (first === undefined) say(`${t("inView")}: ${number(there.length)}`);
    view.show(few);
  }

  async function open(n) {
    await settle(n);
    const { openLightbox } = await load("lightbox.js");
    if (buttons.has(n)) openLightbox(buttons.get(n), undefined, view.canvas);
  }

  const search = later(async () => {
    const q = field.value.trim();
    const answer = q ? await get("v1/map/found", { q }, signal) : null;
    if (field.value.trim() !== q) return;
    chosen.found = answer && new Set(answer.points);
    told.textContent = answer ? t("found", { n: number(answer.count) }) : "";
    view.paint();
    settle();
  });
  const field = h("input", { type: "search", placeholder: t("find"), "aria-label": t("find"), maxlength: 200, oninput: search });
  const told = h("span", { class: "soft", role: "status" });

  // Every label with its colour and how many points it has; those chosen stay bright.
  function key() {
    const labels = state.labels[chosen.kind];
    const counts = new Map();
    for (const one of points[chosen.kind]) counts.set(one, (counts.get(one) ?? 0) + 1);
    const others = [...counts.keys()].filter((one) => one >= labels.length).reduce((sum, one) => sum + counts.get(one), 0);
    const all = [...labels.map((name, n) => [name, n, counts.get(n) ?? 0]), ...others ? [[t(chosen.kind === "era" ? "noYear" : "otherLabels"), 65535, others]] : []];
    const open = whole.getAttribute("aria-expanded") === "true" || chosen.kind === "era" || all.length <= FEW + 1;
    whole.hidden = chosen.kind === "era" || all.length <= FEW + 1;
    whole.textContent = open ? t("fewerLabels") : t("allLabels", { n: number(all.length) });
    fill(legend, (open ? all : all.slice(0, FEW)).map(([name, n, count]) => {
      const dot = h("span", { class: "dot" });
      dot.style.background = hueOf(chosen.kind, n, labels.length);
      return h("li", {}, h("button", { type: "button", class: "plain", "aria-pressed": String(chosen.labels.has(n)), onclick: (event) => {
        const has = chosen.labels.delete(n);
        if (!has) chosen.labels.add(n);
        event.currentTarget.setAttribute("aria-pressed", String(!has));
        view.paint();
        settle();
      } }, dot, name, h("span", { class: "soft" }, ` ${number(count)}`)));
    }));
  }
  const choice = h("select", { "aria-label": t("colourBy"), onchange: () => { chosen.kind = choice.value; chosen.labels.clear(); key(); view.paint(); settle(); } },
    kinds.map((one) => h("option", { value: one }, t({ author: "artist", era: "year" }[one] ?? one))));
  const button = (label, sign, act) => h("button", { type: "button", class: "button small", "aria-label": label, title: label, onclick: act }, sign);
  fill(main, h("article", { class: "work" },
    h("header", {}, h("h1", {}, t("map")), h("p", { class: "soft" }, t("mapLead"), " ", t("mapHelp"),
      state.points_count < state.pictures_count ? ` (${number(state.points_count)} / ${number(state.pictures_count)})` : ""),
      h("form", { class: "finder", role: "search", onsubmit: (event) => event.preventDefault() }, field, told)),
    asked ? h("div", { class: "asked-here" }, asked.images.map((one) => h("span", { class: "mat" }, one)),
      h("p", {}, t("queryHere"), " ", h("a", { href: asked.back }, t("backToResult")))) : null,
    h("div", { class: "skyline" }, view.canvas, view.hint,
      h("div", { class: "tools" }, button(t("zoomIn"), "+", () => view.zoomBy(1.6)), button(t("zoomOut"), "−", () => view.zoomBy(1 / 1.6)), button(t("wholeMap"), "⤢", view.whole),
        asked ? button(t("toQuery"), "◎", view.toQuery) : null)),
    h("div", { class: "key" }, kinds.length ? [h("label", {}, t("colourBy"), " ", choice)] : null, legend, whole),
    h("section", {}, h("h2", {}, t("inView")), list)));
  key();
  const watch = new ResizeObserver(() => { view.paint(); view.changed(); });
  watch.observe(view.canvas);
  signal.addEventListener("abort", () => watch.disconnect());
}

// The map of styles: a canvas to wander on, and the same pictures as a list.

import { fill, h, later, mounted, say } from "./dom.js";
import { number, t } from "./strings.js";
import { get, withParams } from "./api.js";

const COLOURS = ["#d1495b", "#2e86ab", "#edae49", "#3f9b62", "#8b5fbf", "#e2711d", "#5c6b73", "#c06c9e", "#1f9e9e", "#a0793d", "#7a9e2f"];
const OTHER = "#9a948a";
const BYTES = 7;
const KINDS = ["genre", "era", "author"];
const LISTED = 24;
const MAX_ZOOM = 64;

export async function mapPage(main, params, signal) {
  document.title = `${t("map")} – toonsearch`;
  const state = await get("v1/map", {}, signal);
  if (state.state !== "ready") return void fill(main, h("p", { class: "message" }, t("noMap")));
  const answer = await fetch("v1/map/points", { signal });
  const view = new DataView(await answer.arrayBuffer());
  const count = Math.floor(view.byteLength / BYTES);
  const points = { x: new Float32Array(count), y: new Float32Array(count), genre: new Uint8Array(count), era: new Uint8Array(count), author: new Uint8Array(count) };
  for (let n = 0; n < count; n += 1) {
    points.x[n] = view.getUint16(n * BYTES, true) / 65535;
    points.y[n] = view.getUint16(n * BYTES + 2, true) / 65535;
    KINDS.forEach((kind, place) => { points[kind][n] = view.getUint8(n * BYTES + 4 + place); });
  }
  draw(main, state, points, signal);
}

function draw(main, state, points, signal) {
  const count = points.x.length;
  const kinds = KINDS.filter((kind) => state.labels[kind].length > 1);
  let kind = kinds[0] ?? "genre";
  let eye = { x: 0.5, y: 0.5, zoom: 1 };
  const canvas = h("canvas", { class: "sky", tabindex: 0, role: "application", "aria-label": `${t("map")}. ${t("mapHelp")}` });
  const list = h("ul", { class: "grid" });
  const legend = h("ul", { class: "legend" });
  const thumbnails = new Map(); // picture id -> image
  const known = new Map(); // number -> what it is

  // Positions on the canvas, in its own pixels.
  const frame = () => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, hh] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(w * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(hh * ratio); }
    const scale = 0.94 * Math.min(canvas.width, canvas.height) * eye.zoom;
    return { ratio, scale, left: canvas.width / 2 - eye.x * scale, top: canvas.height / 2 - eye.y * scale };
  };
  const inView = () => {
    const f = frame();
    const found = [];
    for (let n = 0; n < count; n += 1) {
      const px = points.x[n] * f.scale + f.left, py = points.y[n] * f.scale + f.top;
      if (px >= 0 && py >= 0 && px < canvas.width && py < canvas.height) found.push(n);
    }
    return found;
  };

  function paint() {
    const f = frame();
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const size = Math.max(2, Math.min(7, 1.4 + eye.zoom)) * f.ratio * (count > 10000 ? 0.7 : 1);
    pen.globalAlpha = 0.8;
    for (let n = 0; n < count; n += 1) {
      const px = points.x[n] * f.scale + f.left, py = points.y[n] * f.scale + f.top;
      if (px < -9 || py < -9 || px > canvas.width + 9 || py > canvas.height + 9) continue;
      pen.fillStyle = COLOURS[points[kind][n]] ?? OTHER;
      pen.fillRect(px - size / 2, py - size / 2, size, size);
    }
    pen.globalAlpha = 1;
    const side = 56 * f.ratio;
    const taken = []; // pictures do not cover one another
    for (const [n, one] of known) {
      const image = thumbnails.get(one.picture_id);
      if (!image?.complete || !image.naturalWidth || !shown.has(n)) continue;
      const fit = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, hh] = [image.naturalWidth * fit, image.naturalHeight * fit];
      const px = points.x[n] * f.scale + f.left - w / 2, py = points.y[n] * f.scale + f.top - hh / 2;
      if (taken.some(([x, y]) => Math.abs(x - px) < side && Math.abs(y - py) < side)) continue;
      taken.push([px, py]);
      pen.fillStyle = "#fff";
      pen.fillRect(px - 2, py - 2, w + 4, hh + 4);
      pen.strokeStyle = COLOURS[points[kind][n]] ?? OTHER;
      pen.strokeRect(px - 2, py - 2, w + 4, hh + 4);
      pen.drawImage(image, px, py, w, hh);
    }
  }

  let shown = new Set();
  const settle = later(async () => {
    const there = inView();
    const every = Math.max(1, there.length / LISTED);
    const few = [];
    for (let n = 0; n < there.length && few.length < LISTED; n += every) few.push(there[Math.floor(n)]);
    if (!few.length) return void fill(list);
    const missing = few.filter((n) => !known.has(n));
    if (missing.length) {
      const { pictures } = await get("v1/map/pictures", { n: missing }, signal).catch(() => ({ pictures: [] }));
      for (const one of pictures) known.set(one.n, one);
    }
    const ready = few.filter((n) => known.has(n));
    shown = new Set(ready);
    for (const n of ready) {
      const one = known.get(n);
      if (thumbnails.has(one.picture_id)) continue;
      const image = new Image();
      image.onload = paint;
      image.src = `v1/pictures/${one.picture_id}?size=small`;
      thumbnails.set(one.picture_id, image);
    }
    fill(list, ready.map((n) => known.get(n)).map((one) => h("li", {}, h("a", {
      href: withParams("./", { like: one.picture_id, exclude_title: one.title_id }),
    }, mounted(one.picture_id, "", { size: "small" }), h("span", {}, one.title), h("span", { class: "soft" }, [one.author, one.year].filter(Boolean).join(", "))))));
    say(`${t("inView")}: ${number(there.length)}`);
    paint();
  }, 200);

  function moveTo(next) {
    const zoom = Math.min(Math.max(next.zoom ?? eye.zoom, 1), MAX_ZOOM);
    const half = 0.5 / zoom;
    const inside = (value) => Math.min(Math.max(value, Math.min(half, 0.5)), Math.max(1 - half, 0.5));
    eye = { zoom, x: inside(next.x ?? eye.x), y: inside(next.y ?? eye.y) };
    paint();
    settle();
  }

  // Zoom so that the place under the pointer stays where it is.
  function zoomAt(factor, event) {
    const f = frame();
    const box = canvas.getBoundingClientRect();
    const px = event ? (event.clientX - box.left) * f.ratio : canvas.width / 2;
    const py = event ? (event.clientY - box.top) * f.ratio : canvas.height / 2;
    const [x, y] = [(px - f.left) / f.scale, (py - f.top) / f.scale];
    const zoom = Math.min(Math.max(eye.zoom * factor, 1), MAX_ZOOM);
    const ratio = eye.zoom / zoom;
    moveTo({ zoom, x: x + (eye.x - x) * ratio, y: y + (eye.y - y) * ratio });
  }

  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomAt(event.deltaY < 0 ? 1.25 : 0.8, event); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = 0.15 / eye.zoom;
    const act = {
      ArrowLeft: () => moveTo({ x: eye.x - step }), ArrowRight: () => moveTo({ x: eye.x + step }),
      ArrowUp: () => moveTo({ y: eye.y - step }), ArrowDown: () => moveTo({ y: eye.y + step }),
      "+": () => zoomAt(1.5), "=": () => zoomAt(1.5), "-": () => zoomAt(1 / 1.5), 0: () => moveTo({ x: 0.5, y: 0.5, zoom: 1 }),
    }[event.key];
    if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); }
  });
  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, event); moved = 0; });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const f = frame();
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY) || 1;
      zoomAt(far(event) / far(before), other);
    } else {
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      moveTo({ x: eye.x - (dx * f.ratio) / f.scale, y: eye.y - (dy * f.ratio) / f.scale });
    }
    moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    fingers.set(event.pointerId, event);
  });
  const up = (event) => { fingers.delete(event.pointerId); };
  canvas.addEventListener("pointerup", (event) => {
    up(event);
    if (moved < 4) zoomAt(2, event);
  });
  canvas.addEventListener("pointercancel", up);

  function key() {
    fill(legend, state.labels[kind].map((name, n) => {
      const dot = h("span", { class: "dot" });
      dot.style.background = COLOURS[n] ?? OTHER;
      return h("li", {}, dot, name);
    }));
  }
  const choice = h("select", { "aria-label": t("colourBy"), onchange: () => { kind = choice.value; key(); paint(); } },
    kinds.map((one) => h("option", { value: one }, t(one === "author" ? "artist" : one))));
  const button = (label, sign, act) => h("button", { type: "button", class: "button small", "aria-label": label, title: label, onclick: act }, sign);
  fill(main, h("article", { class: "work" },
    h("header", {}, h("h1", {}, t("map")), h("p", { class: "soft" }, t("mapLead"), " ", t("mapHelp"),
      state.points_count < state.pictures_count ? ` (${number(state.points_count)} / ${number(state.pictures_count)})` : "")),
    h("div", { class: "skyline" }, canvas,
      h("div", { class: "tools" }, button(t("zoomIn"), "+", () => zoomAt(1.6)), button(t("zoomOut"), "−", () => zoomAt(1 / 1.6)), button(t("wholeMap"), "⤢", () => moveTo({ x: 0.5, y: 0.5, zoom: 1 })))),
    h("div", { class: "key" }, kinds.length ? [t("colourBy"), " ", choice] : null, legend),
    h("section", {}, h("h2", {}, t("inView")), list)));
  key();
  const watch = new ResizeObserver(() => { paint(); settle(); });
  watch.observe(canvas);
  signal.addEventListener("abort", () => watch.disconnect());
}

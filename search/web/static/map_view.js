// The canvas of the map: points, small pictures with their names, and the query; how it is moved.

import { h } from "./dom.js";
import { t } from "./strings.js";

const COLOURS = ["#d1495b", "#2e86ab", "#edae49", "#3f9b62", "#8b5fbf", "#e2711d", "#5c6b73", "#c06c9e", "#1f9e9e", "#a0793d", "#7a9e2f", "#4055c8"];
const OTHER = "#9a948a";
const EARLY = [68, 58, 128];
const MIDDLE = [33, 145, 140];
const LATE = [240, 180, 40];
const MAX_ZOOM = 64;
const REACH_PX = 14; // so near a point the pointer is on it
const SIDE_PX = 56;
const NAME_PX = 15;

// The colour of a label: its own for the first of them, along a scale for years.
export function hueOf(kind, n, count) {
  if (kind !== "era" || n >= count) return n < count ? COLOURS[n] ?? OTHER : OTHER;
  const along = count > 1 ? 2 * n / (count - 1) : 1;
  const [from, to] = along <= 1 ? [EARLY, MIDDLE] : [MIDDLE, LATE];
  const mixed = from.map((one, place) => Math.round(one + (to[place] - one) * (along <= 1 ? along : along - 1)));
  return `rgb(${mixed.join(" ")})`;
}

// The number of the point nearest to a place, no farther than `reach`; -1 for none.
export function nearestPoint(points, x, y, reach, wanted = () => true) {
  let best = -1;
  let least = reach * reach;
  for (let n = 0; n < points.count; n += 1) {
    const far = (points.x[n] - x) ** 2 + (points.y[n] - y) ** 2;
    if (far < least && wanted(n)) { least = far; best = n; }
  }
  return best;
}

export function mapView({ points, asked, known, hue, isBright, settled, learn, open }) {
  let eye = { x: 0.5, y: 0.5, zoom: 1 };
  let shown = new Set(); // points whose pictures may be drawn
  let drawn = []; // where they were: { n, x, y, w, h } on the canvas
  let over = -1;
  let inUse = false; // the wheel is the map's
  const thumbnails = new Map(); // picture id -> image
  const canvas = h("canvas", { class: "sky", tabindex: 0, role: "application", "aria-label": `${t("map")}. ${t("mapHelp")}` });
  const hint = h("p", { class: "hint", "aria-hidden": "true", hidden: true }, t("wheelHint"));
  let hiding = 0;

  const frame = () => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, hh] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== w || canvas.height !== hh) { canvas.width = w; canvas.height = hh; }
    const scale = 0.94 * Math.min(w, hh) * eye.zoom;
    return { ratio, scale, left: w / 2 - eye.x * scale, top: hh / 2 - eye.y * scale };
  };
  const inView = () => {
    const f = frame();
    const found = [];
    for (let n = 0; n < points.count; n += 1) {
      const px = points.x[n] * f.scale + f.left, py = points.y[n] * f.scale + f.top;
      if (px >= 0 && py >= 0 && px < canvas.width && py < canvas.height) found.push(n);
    }
    return found;
  };

  function paint() {
    const f = frame();
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const size = Math.max(2, Math.min(7, 1.4 + eye.zoom)) * f.ratio * (points.count > 10000 ? 0.7 : 1);
    const all = Array.from({ length: points.count }, (_, n) => isBright(n));
    const dim = all.includes(false);
    for (const bright of [false, true]) { // the bright ones lie above
      pen.globalAlpha = bright ? 0.85 : 0.15;
      const side = bright && dim ? 1.8 * size : size;
      for (let n = 0; n < points.count; n += 1) {
        if (all[n] !== bright) continue;
        const px = points.x[n] * f.scale + f.left, py = points.y[n] * f.scale + f.top;
        if (px < -9 || py < -9 || px > canvas.width + 9 || py > canvas.height + 9) continue;
        pen.fillStyle = hue(n);
        pen.fillRect(px - side / 2, py - side / 2, side, side);
      }
    }
    pen.globalAlpha = 1;
    pen.font = `${12 * f.ratio}px ${style.fontFamily}`;
    const side = SIDE_PX * f.ratio;
    drawn = []; // pictures do not cover one another
    for (const n of shown) {
      const image = thumbnails.get(known.get(n)?.picture_id);
      if (!image?.complete || !image.naturalWidth || !all[n]) continue;
      const fit = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, hh] = [image.naturalWidth * fit, image.naturalHeight * fit];
      const px = points.x[n] * f.scale + f.left - w / 2, py = points.y[n] * f.scale + f.top - hh / 2;
      if (drawn.some((one) => Math.abs(one.x - px) < 1.6 * side && Math.abs(one.y - py) < side + NAME_PX * f.ratio)) continue;
      drawn.push({ n, x: px, y: py, w, h: hh });
      pen.fillStyle = "#fff";
      pen.fillRect(px - 2, py - 2, w + 4, hh + 4);
      pen.strokeStyle = hue(n);
      pen.lineWidth = 1.5 * f.ratio;
      pen.strokeRect(px - 2, py - 2, w + 4, hh + 4);
      pen.drawImage(image, px, py, w, hh);
      named(pen, f, style, known.get(n).title, px + w / 2, py + hh + 3, 1.5 * side);
    }
    if (asked) query(pen, f, style);
    if (over >= 0) pointed(pen, f, style);
  }

  // A name on paper, under a place, cut to a width.
  function named(pen, f, style, text, x, y, most) {
    let name = text;
    while (name.length > 2 && pen.measureText(name).width > most) name = `${name.slice(0, name.endsWith("…") ? -2 : -1)}…`;
    const half = pen.measureText(name).width / 2 + 3 * f.ratio;
    pen.fillStyle = style.backgroundColor;
    pen.globalAlpha = 0.85;
    pen.fillRect(x - half, y, 2 * half, NAME_PX * f.ratio);
    pen.globalAlpha = 1;
    pen.fillStyle = style.color;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    pen.fillText(name, x, y + 1.5 * f.ratio);
  }

  // The query: rings around its place, and lines to the nearest pictures.
  function query(pen, f, style) {
    const [x, y] = [asked.x * f.scale + f.left, asked.y * f.scale + f.top];
    pen.strokeStyle = style.color;
    pen.lineWidth = f.ratio;
    pen.globalAlpha = 0.5;
    for (const n of asked.near) {
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(points.x[n] * f.scale + f.left, points.y[n] * f.scale + f.top);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    for (const [radius, width, colour] of [[9, 5, style.backgroundColor], [9, 2.5, style.color], [2.5, 3, style.color]]) {
      pen.lineWidth = width * f.ratio;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.arc(x, y, radius * f.ratio, 0, 2 * Math.PI);
      pen.stroke();
    }
    named(pen, f, style, t("queryMark"), x, y + 13 * f.ratio, 1e4);
  }

  function pointed(pen, f, style) {
    const [x, y] = [points.x[over] * f.scale + f.left, points.y[over] * f.scale + f.top];
    pen.lineWidth = 2 * f.ratio;
    pen.strokeStyle = style.color;
    pen.beginPath();
    pen.arc(x, y, 8 * f.ratio, 0, 2 * Math.PI);
    pen.stroke();
    const one = known.get(over);
    if (!one) return;
    const text = [one.title, one.author].filter(Boolean).join(" · ");
    const half = pen.measureText(text).width / 2 + 6 * f.ratio;
    named(pen, f, style, text, Math.min(Math.max(x, half), Math.max(half, canvas.width - half)), Math.min(y + 12 * f.ratio, canvas.height - NAME_PX * f.ratio), 1e4);
  }

  function show(numbers) {
    shown = new Set(numbers);
    for (const n of numbers) {
      const one = known.get(n);
      if (!one || thumbnails.has(one.picture_id)) continue;
      const image = new Image();
      image.onload = paint;
      image.src = `v1/pictures/${one.picture_id}?size=small`;
      thumbnails.set(one.picture_id, image);
    }
    paint();
  }

  function moveTo(next) {
    const zoom = Math.min(Math.max(next.zoom ?? eye.zoom, 1), MAX_ZOOM);
    const half = 0.5 / zoom;
    const inside = (value) => Math.min(Math.max(value, Math.min(half, 0.5)), Math.max(1 - half, 0.5));
    eye = { zoom, x: inside(next.x ?? eye.x), y: inside(next.y ?? eye.y) };
    paint();
    settled();
  }

  const placeOf = (event, f = frame()) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = event ? [(event.clientX - box.left) * f.ratio, (event.clientY - box.top) * f.ratio] : [canvas.width / 2, canvas.height / 2];
    return { px, py, x: (px - f.left) / f.scale, y: (py - f.top) / f.scale };
  };
  // Zoom so that the place under the pointer stays where it is.
  function zoomBy(factor, event) {
    const { x, y } = placeOf(event);
    const zoom = Math.min(Math.max(eye.zoom * factor, 1), MAX_ZOOM);
    const ratio = eye.zoom / zoom;
    moveTo({ zoom, x: x + (eye.x - x) * ratio, y: y + (eye.y - y) * ratio });
  }
  // The point under the pointer, or in the middle: one whose picture is drawn there goes first.
  function pointAt(event) {
    const f = frame();
    const { px, py, x, y } = placeOf(event, f);
    const picture = drawn.find((one) => px >= one.x && py >= one.y && px <= one.x + one.w && py <= one.y + one.h);
    return picture ? picture.n : nearestPoint(points, x, y, (event ? REACH_PX : 1e5) * f.ratio / f.scale, isBright);
  }

  function use(now) {
    inUse = now;
    canvas.classList.toggle("in-use", now);
    if (now) hint.hidden = true;
  }
  canvas.addEventListener("wheel", (event) => {
    if (inUse || event.ctrlKey || event.metaKey) { // a pinch on a touchpad comes with ctrlKey
      event.preventDefault();
      zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) / 400), event);
      return;
    }
    hint.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { hint.hidden = true; }, 1500);
  }, { passive: false });
  canvas.addEventListener("blur", () => use(false));
  canvas.addEventListener("keydown", (event) => {
    const step = 0.15 / eye.zoom;
    const act = {
      ArrowLeft: () => moveTo({ x: eye.x - step }), ArrowRight: () => moveTo({ x: eye.x + step }),
      ArrowUp: () => moveTo({ y: eye.y - step }), ArrowDown: () => moveTo({ y: eye.y + step }),
      "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: whole,
      Enter: () => { const n = pointAt(); if (n >= 0) open(n); }, Escape: () => use(false),
    }[event.key];
    if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); }
  });

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (fingers.size === 0) moved = 0;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    if (fingers.size > 1) moved = 99; // a pinch is no click
  });
  let naming = 0;
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return void point(event);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY) || 1;
      zoomBy(far(event) / far(before), other);
    } else {
      const f = frame();
      moveTo({ x: eye.x - ((event.clientX - before.clientX) * f.ratio) / f.scale, y: eye.y - ((event.clientY - before.clientY) * f.ratio) / f.scale });
    }
    moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    fingers.set(event.pointerId, event);
  });
  // What lies under a resting pointer is named, and with it what lies around it, in one request.
  function point(event) {
    const n = pointAt(event);
    if (n === over) return;
    over = n;
    canvas.classList.toggle("on-point", n >= 0);
    paint();
    clearTimeout(naming);
    if (n < 0 || known.has(n)) return;
    naming = setTimeout(async () => {
      const { x, y } = { x: points.x[n], y: points.y[n] };
      const around = inView().map((one) => [(points.x[one] - x) ** 2 + (points.y[one] - y) ** 2, one]).sort((a, b) => a[0] - b[0]);
      await learn(around.slice(0, 60).map(([, one]) => one)).catch(() => {});
      if (over === n) paint();
    }, 150);
  }
  canvas.addEventListener("pointerup", (event) => {
    const known = fingers.delete(event.pointerId);
    if (!known || moved >= 6) return void (known && use(true));
    use(true);
    const n = pointAt(event);
    if (n >= 0) open(n);
  });
  canvas.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); });
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "mouse") return;
    use(false);
    over = -1;
    paint();
  });

  function whole() { moveTo({ x: 0.5, y: 0.5, zoom: 1 }); }
  return {
    canvas, hint, paint, show, inView, zoomBy, whole,
    changed: () => settled(),
    toQuery: () => moveTo({ x: asked.x, y: asked.y, zoom: Math.max(eye.zoom, 6) }),
  };
}

// The search page: how a picture gets in, and what happens with the answer.

import { fill, h, picture, say } from "./dom.js";
import { number, t } from "./strings.js";
import { get, query, withParams } from "./api.js";
import { cropDialog } from "./crop.js";
import { answerView, filtersOf } from "./results.js";
import { go, problem, server } from "./app.js";

const MAX_PICTURES = 8;
let asked = []; // { file, crop, url } of this visit; never stored
let resultOf = null; // the id of the answer that belongs to them

export function forgetPictures() {
  for (const one of asked) URL.revokeObjectURL(one.url);
  asked = [];
  resultOf = null;
}

function take(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (!pictures.length) return;
  if (location.pathname !== "/" || !new URLSearchParams(location.search).has("r")) forgetPictures();
  for (const file of pictures.slice(0, MAX_PICTURES - asked.length)) {
    asked.push({ file, crop: null, url: URL.createObjectURL(file) });
  }
  if (pictures.length + asked.length > MAX_PICTURES) say(t("moreThanOne", { n: MAX_PICTURES }));
  askAgain();
}

// The pictures have changed: the old result does not belong to them any more.
function askAgain() {
  resultOf = null;
  if (!asked.length) return go("/");
  const filters = location.pathname === "/" ? filtersOf(new URLSearchParams(location.search)) : {};
  go(withParams("/", { r: "new", ...filters }), location.search.startsWith("?r="));
}

export async function searchPage(main, params, signal) {
  if (params.get("like")) return likePage(main, params, signal);
  if (params.get("url")) return urlPage(main, params, signal);
  if (!params.get("r")) return home(main, signal);
  const filters = filtersOf(params);
  let answer;
  if (params.get("r") === resultOf || !asked.length) {
    if (params.get("r") === "new") return home(main, signal);
    busy(main);
    answer = await get(`/v1/results/${encodeURIComponent(params.get("r"))}`, filters, signal);
  } else {
    busy(main);
    answer = await query(asked, filters, signal);
    resultOf = answer.id;
    history.replaceState(null, "", withParams("/", { r: answer.id, ...filters }));
  }
  await show(main, answer, filters, { tiles: answer.id === resultOf ? tiles() : null, id: answer.id, shareable: true }, signal);
}

async function likePage(main, params, signal) {
  const filters = filtersOf(params);
  busy(main);
  const id = params.get("like");
  const answer = await get(`/v1/pictures/${encodeURIComponent(id)}/similar`,
    { ...filters, exclude_title: params.getAll("exclude_title") }, signal);
  const shown = h("figure", { class: "asked" }, h("span", { class: "mat" }, picture(id, t("yourPicture", { n: "" }), { kind: "query", eager: true })));
  await show(main, answer, filters, { tiles: shown, subject: { like: id, exclude_title: params.getAll("exclude_title") } }, signal);
}

async function urlPage(main, params, signal) {
  busy(main);
  const filters = filtersOf(params);
  const answer = await get("/v1/fetched", { url: params.get("url"), ...filters }, signal);
  history.replaceState(null, "", withParams("/", { r: answer.id, ...filters }));
  await show(main, answer, filters, { id: answer.id }, signal);
}

function busy(main) {
  say(t("searching"));
  if (main.querySelector(".answer")) main.querySelector(".answer").setAttribute("aria-busy", "true");
  else fill(main, h("p", { class: "busy" }, h("span", { class: "spinner" }), t("searching")));
}

async function show(main, answer, filters, context, signal) {
  const facets = await get("/v1/facets", {}, signal);
  const subject = context.subject ?? { r: answer.id };
  fill(main, answerView(answer, {
    ...context, filters, facets,
    change: (next) => go(withParams("/", { ...subject, ...next }), true),
  }));
  say(t("found", { n: (answer.titles ?? answer.pictures).length }));
  document.title = `${t("result")} – toonsearch`;
}

function tiles() {
  return h("div", { class: asked.length > 1 ? "asked many" : "asked" },
    asked.map((one, n) => h("figure", { class: "tile" },
      h("span", { class: "mat" }, preview(one, n)),
      h("figcaption", {},
        h("span", { class: "name" }, one.file.name || t("yourPicture", { n: n + 1 })),
        h("button", { type: "button", class: "plain crop", onclick: () => recrop(n) }, t("crop")),
        h("button", {
          type: "button", class: "plain", "aria-label": `${t("remove")}: ${one.file.name || n + 1}`,
          onclick: () => { URL.revokeObjectURL(one.url); asked.splice(n, 1); askAgain(); },
        }, t("remove"))))),
    asked.length < MAX_PICTURES ? chooser(t("add"), "button small") : null);
}

// What is asked about: the whole picture, or its part drawn on a canvas.
function preview(one, n) {
  const alt = t("yourPicture", { n: n + 1 });
  if (!one.crop) return h("img", { class: "query", src: one.url, alt });
  const [x, y, w, hh] = one.crop.split(",").map((part) => parseFloat(part) / 100);
  const canvas = h("canvas", { class: "query", role: "img", "aria-label": alt });
  const image = new Image();
  image.onload = () => {
    const box = [x * image.naturalWidth, y * image.naturalHeight, w * image.naturalWidth, hh * image.naturalHeight];
    const scale = Math.min(1, 800 / Math.max(box[2], box[3]));
    canvas.width = Math.max(1, box[2] * scale);
    canvas.height = Math.max(1, box[3] * scale);
    canvas.getContext("2d").drawImage(image, ...box, 0, 0, canvas.width, canvas.height);
  };
  image.src = one.url;
  return canvas;
}

async function recrop(n) {
  const crop = await cropDialog(asked[n].url, asked[n].crop);
  if (crop === undefined || crop === asked[n].crop) return;
  asked[n].crop = crop;
  askAgain();
}

function chooser(label, style, camera = false) {
  const input = h("input", {
    type: "file", accept: "image/jpeg,image/png,image/webp,image/gif", multiple: !camera,
    capture: camera ? "environment" : null, class: "hidden", tabindex: -1, "aria-hidden": "true",
    onchange: () => take(input.files),
  });
  return h("span", {}, h("button", { type: "button", class: style, onclick: () => input.click() }, label), input);
}

async function home(main, signal) {
  const facts = h("p", { class: "soft facts" });
  const examples = h("div", { class: "examples" });
  fill(main,
    h("section", { class: "hero" },
      h("h1", {}, t("headline")),
      h("p", { class: "lead" }, t("lead")),
      h("div", { class: "drop", id: "drop" },
        h("svg", { class: "frame", viewBox: "0 0 64 48", "aria-hidden": "true" },
          h("rect", { x: 2, y: 2, width: 60, height: 44, rx: 5 }),
          h("circle", { cx: 18, cy: 16, r: 5 }),
          h("path", { d: "M4 40 L24 24 L36 34 L48 20 L60 32" })),
        h("p", { class: "invite" }, t("drop")),
        h("p", { class: "buttons" }, chooser(t("choose"), "button main"), h("span", { class: "touch" }, chooser(t("photo"), "button", true))),
        server.urls ? urlForm() : null,
        h("p", { class: "soft" }, t("several"))),
      facts),
    h("section", { class: "start", hidden: true }, h("h2", {}, t("tryOne")), examples));
  try {
    const facets = await get("/v1/facets", {}, signal);
    facts.textContent = t("indexFacts", {
      pictures: number(facets.pictures_count), titles: number(facets.titles_count), authors: number(facets.authors_count),
    });
    const offset = Math.floor(Math.random() * Math.max(1, facets.titles_count - 12));
    const { titles } = await get("/v1/titles", { offset }, signal);
    const few = titles.filter((title) => title.picture_id).slice(0, 12);
    fill(examples, few.map((title) => h("a", {
      href: withParams("/", { like: title.picture_id, exclude_title: title.title_id }), title: title.title,
    }, picture(title.picture_id, `${title.title} – ${title.authors[0] ?? ""}`, { size: "small" }))));
    examples.parentElement.hidden = !few.length;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(main, problem(error));
  }
}

function urlForm() {
  const input = h("input", { type: "url", placeholder: "https://…", "aria-label": t("url"), maxlength: 2000 });
  return h("form", {
    class: "address",
    onsubmit: (event) => { event.preventDefault(); if (input.value) go(withParams("/", { url: input.value })); },
  }, input, h("button", { class: "button" }, t("ask")));
}

// Dropping and pasting work on every page.
let depth = 0;
const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth += 1;
  document.body.classList.add("dragging");
  document.body.dataset.drop = t("dropNow");
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) document.body.classList.remove("dragging");
});
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  depth = 0;
  document.body.classList.remove("dragging");
  if (!hasFiles(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  take(files);
});

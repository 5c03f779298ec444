// Where one begins: a place for pictures, what was asked lately, and pictures of the index to start from.

import { fill, h, picture } from "./dom.js";
import { number, t } from "./strings.js";
import { get, load, withParams } from "./api.js";
import { chosen } from "./given.js";
import { go, known, problem, server } from "./app.js";
import { wordsForm } from "./words.js";

export function chooser(label, style, camera = false) {
  const input = h("input", {
    type: "file", accept: "image/jpeg,image/png,image/webp,image/gif", multiple: !camera,
    capture: camera ? "environment" : null, class: "hidden", tabindex: -1, "aria-hidden": "true",
    onchange: () => chosen([...input.files]),
  });
  return h("span", {}, h("button", { type: "button", class: style, onclick: () => input.click() }, label), input);
}

export async function home(main, signal) {
  const facts = h("p", { class: "soft facts" });
  const examples = h("div", { class: "examples" });
  const urls = h("div", {});
  const recent = h("section", { class: "start", hidden: true });
  load("recent.js").then(({ showRecent }) => showRecent(recent)).catch(() => { /* the page does without */ });
  known.then(() => { if (server.urls) { fill(urls, urlForm()); load("bookmarklet.js").then((part) => urls.append(part.bookmarklet())); } });
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
        urls,
        h("p", { class: "soft" }, t("several"))),
      h("p", { class: "soft or-words" }, t("orWords")), wordsForm((text) => go(withParams("./", { text }))),
      facts),
    recent,
    h("section", { class: "start", hidden: true }, h("h2", {}, t("tryOne")), examples));
  try {
    const facets = await get("v1/facets", {}, signal);
    facts.textContent = t("indexFacts", {
      pictures: number(facets.pictures_count), titles: number(facets.titles_count), authors: number(facets.authors_count),
    });
    const few = await some(facets, signal);
    fill(examples, few.map((title) => h("a", {
      href: withParams("./", { like: title.picture_id, exclude_title: title.title_id }), title: title.title,
    }, picture(title.picture_id, `${title.title} – ${title.authors[0] ?? ""}`, { size: "small" }))));
    examples.parentElement.hidden = !few.length;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(main, problem(error));
  }
}

const FIGURES = ["people", "animals"]; // nothing tells hands apart as figures do

// A dozen titles, of figures where genres tell of them, else of the largest genres by turns:
// neighbours in the alphabet are often of one kind.
async function some(facets, signal) {
  const named = facets.genres.map((one) => one.name);
  const genres = FIGURES.every((one) => named.includes(one)) ? FIGURES : named.slice(0, 4);
  const asked = genres.length > 1 ? genres.map((genre) => ({ genre }))
    : [{ offset: Math.floor(Math.random() * Math.max(1, facets.titles_count - 12)) }];
  const lists = await Promise.all(asked.map(async (params) => (await get("v1/titles", params, signal)).titles.filter((title) => title.picture_id)));
  if (genres.length > 1) for (const list of lists) list.sort(() => Math.random() - 0.5);
  const found = new Map(); // a title may have two genres
  for (let turn = 0; turn < 12; turn += 1) for (const list of lists) if (list[turn]) found.set(list[turn].title_id, list[turn]);
  return [...found.values()].slice(0, 12);
}

function urlForm() {
  const input = h("input", { type: "url", placeholder: t("url"), "aria-label": t("url"), maxlength: 2000 });
  return h("form", {
    class: "address",
    onsubmit: (event) => { event.preventDefault(); if (input.value) go(withParams("./", { url: input.value })); },
  }, input, h("button", { class: "button" }, t("ask")));
}

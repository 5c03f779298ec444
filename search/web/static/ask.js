// The search page: how a picture gets in, and what happens with the answer.

import { fill, h, picture, say, tell, tellAlso } from "./dom.js";
import { explain, t } from "./strings.js";
import { get, here, load, query, withParams } from "./api.js";
import { chooser, home } from "./home.js";
import { filtersOf } from "./filters.js";
import { from } from "./look.js";
import { countsField, withoutPlace } from "./mix.js";
import { cutButton, panelsView } from "./panels.js";
import { preview } from "./preview.js";
import { shrunk } from "./shrink.js";
import { go } from "./app.js";
import { byWords, wordsForm } from "./words.js";

export const MAX_PICTURES = 64;
const LOTS = 12; // pictures that were asked about: more have a height of their own, above the answer
const NAMED = 5; // of those that could not be used
let asked = []; // { file, crop, url } of this visit; never stored
let resultOf = null; // the id of the answer that belongs to them
let before = null; // what was asked before, while an answer is awaited
let shownAt = null; // the address of the answer on the page, what it is about, and its panels
let trying = null; // the filter that was changed last, while its answer is awaited

const letGo = (pictures, kept = []) => {
  for (const one of pictures) if (!kept.some((other) => other.url === one.url)) URL.revokeObjectURL(one.url);
};

export function forgetPictures() {
  letGo([...asked, ...before?.asked ?? []]);
  asked = [];
  before = null;
  resultOf = null;
}

// Ask about these as well; gives those that are too many.
export function take(pictures) {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close(); // it speaks of what was asked before
  const kept = here() || !new URLSearchParams(location.search).has("r") ? [] : asked;
  const room = MAX_PICTURES - kept.length;
  if (room > 0) askAgain([...kept, ...pictures.slice(0, room).map((file) => ({ file, crop: null, url: URL.createObjectURL(file) }))]);
  return pictures.slice(room);
}

// Ask about other pictures, or cut in another way: the result on the page does not belong to them, but it stays until theirs
// is there, and for good when there is none.
function askAgain(next, other = {}) {
  const filtersNow = !here() ? filtersOf(new URLSearchParams(location.search)) : {};
  const isShown = !here() && shownAt && document.querySelector("main .answer");
  const old = { asked, resultOf, address: shownAt?.address };
  asked = next;
  resultOf = null;
  if (!asked.length) {
    letGo(old.asked);
    before = null;
    return go("./");
  }
  before = isShown ? before ?? old : null;
  if (!isShown) letGo(old.asked, asked);
  go(withParams("./", { r: "new", ...filtersNow, panel: null, weights: weightsAfter(filtersNow, old.asked, next), ...other }), location.search.startsWith("?r="));
}

// The weights of other pictures of one's own, before those of the index; new ones count fully.
function weightsAfter(filters, old, next) {
  if (!filters.weights) return null;
  const weights = filters.weights.split(",");
  const own = weights.length - (filters.with ?? []).length;
  return [...next.map((one) => (old.includes(one) || one.place ? weights[one.place - 1] : null) ?? "100"), ...weights.slice(own)].join(",");
}

// Ask with a picture of the index as well.
export function askWith(id) {
  const filters = filtersOf(new URLSearchParams(location.search));
  const others = filters.with ?? [];
  if (!shownAt || here() || others.includes(id)) return;
  if (shownAt.count >= MAX_PICTURES) return void tell(t("tooManyAsked", { n: MAX_PICTURES }));
  tell();
  go(withParams("./", { ...JSON.parse(shownAt.subject), ...filters, with: [...others, id], weights: filters.weights ? `${filters.weights},100` : null }));
}

// An answer stays when other filters bring none: the page says why, and its address is the answer's.
export async function searchPage(main, params, signal) {
  try {
    await answerPage(main, params, signal);
  } catch (error) {
    const subject = JSON.stringify(params.get("like") ? { like: params.get("like") } : { r: params.get("r") });
    const answer = main.querySelector(".answer");
    const old = params.get("r") === "new" ? before : null;
    if (error.name === "AbortError" || !answer || !(old || shownAt?.subject === subject)) throw error;
    if (old) {
      letGo(asked, old.asked);
      ({ asked, resultOf } = old);
      before = null;
    }
    answer.removeAttribute("aria-busy");
    history.replaceState(null, "", `./${shownAt.address}`);
    if (!(trying && error.status === 422 && beside(trying, error.full))) tell(error.full ?? error.message);
  } finally {
    if (!signal.aborted) trying = null;
  }
}

// What is wrong with a filter, beside its field.
function beside(name, said) {
  const field = document.getElementById(`f-${name}`);
  const place = field?.closest(".field");
  if (!place) return false;
  place.querySelector(".wrong")?.remove();
  place.append(h("span", { class: "wrong", id: `f-${name}-wrong`, role: "alert" }, said));
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `f-${name}-wrong`);
  field.focus();
  return true;
}

async function answerPage(main, params, signal) {
  if (params.get("like")) return likePage(main, params, signal);
  if (params.get("url")) return urlPage(main, params, signal);
  if (params.get("text") && !params.get("r")) return wordsPage(main, params, signal);
  if (!params.get("r")) return home(main, signal);
  const filters = filtersOf(params);
  let answer;
  if (params.get("r") !== "new") {
    busy(main);
    await recallOf(params.get("r"));
    try {
      answer = await again(params.get("r"), signal)(filters);
    } catch (error) { // no longer stored there, but the pictures are here
      if (resultOf !== params.get("r") || ![404, 410].includes(error.status)) throw error;
      return go(withParams("./", { ...filters, r: "new", panel: null, weights: weightsAfter(filters, asked, asked) }), true);
    }
  } else {
    if (!asked.length) return home(main, signal);
    for (const name of ["liked", "disliked", "exclude_title"]) delete filters[name]; // of another query
    busy(main);
    answer = await query(await sent(), filters, signal);
    resultOf = answer.id;
    if (before) letGo(before.asked, asked);
    before = null;
    leaveOut(answer.refused ?? []);
    const kept = [...asked];
    load("recent.js").then(({ keepAsked }) => keepAsked(answer.id, kept));
    history.replaceState(null, "", withParams("./", { r: answer.id, ...filters }));
  }
  const own = answer.id === resultOf ? [tiles(answer, filters), panels(answer, filters)] : strangers(answer, filters, t("notStored"));
  await show(main, answer, filters, { tiles: own, id: answer.id, ask: again(answer.id, signal) }, signal);
}

// The pictures of a result that this browser has asked before; not those that others shared.
async function recallOf(id) {
  const found = id === resultOf ? null : await load("recent.js").then(({ askedBefore }) => askedBefore(id)).catch(() => null);
  if (found) { letGo(asked); [asked, resultOf] = [found, id]; }
}

// The panels that asked, to be chosen among.
function panels(answer, filters) {
  if (filters.panels === "off") return cutButton(() => askAgain(asked, { panels: null }));
  const sentAs = new Map(asked.map((one) => [one.place, one.sent?.blob]));
  const choose = (panel) => go(withParams("./", { r: answer.id, ...filters, panel }));
  return panelsView(answer, sentAs, choose, () => askAgain(asked, { panels: "off" }));
}

// The pictures as they are sent, one after the other: a large one fills a phone's memory.
async function sent() {
  for (const [n, one] of asked.entries()) {
    one.sent ??= { name: one.file.name, ...await shrunk(one.file, one.url, one.crop) };
    one.place = n + 1; // as the answer counts them
  }
  return asked.map((one) => one.sent);
}

// Pictures that the server could not use are named; the others have answered.
function leaveOut(refused) {
  if (!refused.length) return;
  const places = new Set(refused.map((one) => one.picture - 1));
  tellAlso(...refused.slice(0, NAMED).map((one) => `${t("leftOut", { who: one.name })} ${explain(one).join(" ")}`),
    ...refused.length > NAMED ? [t("leftOut", { who: t("andMore", { names: refused[NAMED].name, n: refused.length - NAMED - 1 }) })] : []);
  for (const place of places) URL.revokeObjectURL(asked[place].url);
  asked = asked.filter((_, n) => !places.has(n));
}

async function likePage(main, params, signal) {
  const filters = filtersOf(params);
  busy(main);
  const id = params.get("like");
  const ask = (chosen) => get(`v1/pictures/${encodeURIComponent(id)}/similar`, chosen, signal);
  const [answer, { byline }] = await Promise.all([ask(filters), load("results.js")]);
  const { title, title_id, authors, year } = answer.picture;
  const first = h("figure", { class: "asked" }, h("span", { class: "mat" }, from({ id }, picture(id, t("pictureOf", { title }), { kind: "query", eager: true }))),
    h("figcaption", {}, h("span", { class: "soft" }, t("thisPicture")), h("h1", { class: "whose" }, h("a", { href: withParams("title", { id: title_id }) }, title)),
      byline(authors), year ? h("p", { class: "meta" }, year) : null), countsField(answer, filters, 0, title, changeMix));
  const shown = [first, h("div", { class: "asked many" }, others(answer, filters))];
  await show(main, answer, filters, { tiles: shown, ask, subject: { like: id } }, signal);
}

async function urlPage(main, params, signal) {
  busy(main);
  const filters = filtersOf(params);
  const answer = await get("v1/fetched", { url: params.get("url"), ...filters }, signal);
  history.replaceState(null, "", withParams("./", { r: answer.id, ...filters }));
  await show(main, answer, filters, { tiles: strangers(answer, filters, t("notStored")), id: answer.id, ask: again(answer.id, signal) }, signal);
}

async function wordsPage(main, params, signal) {
  busy(main);
  const ask = (filters) => byWords(filters, signal);
  const filters = filtersOf(params);
  await show(main, await ask(filters), filters, { tiles: wordsForm((text) => go(withParams("./", { ...filters, text })), filters.text), ask, subject: {}, words: true }, signal);
}

// The same pictures with other filters.
const again = (id, signal) => (filters) => get(`v1/results/${encodeURIComponent(id)}`, filters, signal);

function busy(main) {
  say(t("searching"));
  load("results.js").catch(() => { /* said when it is wanted */ });
  if (main.querySelector(".answer")) main.querySelector(".answer").setAttribute("aria-busy", "true");
  else fill(main, h("p", { class: "busy" }, h("span", { class: "spinner" }), t("searching")));
}

async function show(main, answer, filters, context, signal) {
  const [facets, { answerView }] = await Promise.all([get("v1/facets", {}, signal), load("results.js")]);
  const subject = context.subject ?? { r: answer.id };
  const focused = document.activeElement?.id; // a filter, or a mark
  shownAt = { address: location.search, subject: JSON.stringify(subject), panels: answer.panels, count: answer.weights.length };
  fill(main, answerView(answer, {
    ...context, filters, facets,
    wrong: beside,
    change: (next, name) => {
      trying = name;
      go(withParams("./", { ...subject, ...next }), true);
    },
    grown: (k) => { // reloading, and a file, have as many
      history.replaceState(null, "", withParams("./", { ...subject, ...filters, k }));
      for (const one of document.querySelectorAll(".saving a[download]")) {
        const address = new URL(one.href);
        address.searchParams.set("k", k);
        one.href = address.href;
      }
    },
  }));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  say(t("found", { n: (answer.titles ?? answer.pictures).length }));
  document.title = `${t("result")} – toonsearch`;
}

const panelsShown = () => shownAt?.panels ?? [];

// The pictures of a result, while they are still here: as small images.
export const askedImages = (id) => (id === resultOf ? asked.map((one, n) => preview(one, n, panelsShown).firstChild) : []);

const changeMix = (next) => go(withParams("./", { ...JSON.parse(shownAt.subject), ...next }), true);

// Pictures of the index that are asked about as well.
function others(answer, filters) {
  const own = answer.weights.length - answer.others.length;
  return answer.others.map((one, n) => h("figure", { class: "tile" },
    h("span", { class: "mat" }, from({ id: one.picture_id }, picture(one.picture_id, t("pictureOf", { title: one.title }), { kind: "query", eager: true }))),
    h("figcaption", {},
      h("a", { class: "name", href: withParams("title", { id: one.title_id }), title: one.title }, one.title),
      h("button", { type: "button", class: "plain", "aria-label": `${t("remove")}: ${one.title}`, onclick: () => changeMix(withoutPlace(answer, filters, own + n)) }, t("remove")),
      countsField(answer, filters, own + n, one.title, changeMix))));
}

// A question whose own pictures are not here.
function strangers(answer, filters, said) {
  const own = answer.weights.length - answer.others.length;
  return [h("p", { class: "soft" }, said),
    answer.weights.length > 1 ? Array.from({ length: own }, (_, n) => h("div", { class: "stranger" }, t("yourPicture", { n: own > 1 ? n + 1 : "" }), countsField(answer, filters, n, t("yourPicture", { n: n + 1 }), changeMix))) : null,
    h("div", { class: "asked many" }, others(answer, filters))];
}

function tiles(answer, filters) {
  const many = answer.weights.length;
  return h("div", { class: many > LOTS ? "asked many lots" : many > 1 ? "asked many" : "asked" },
    asked.map((one, n) => h("figure", { class: "tile" },
      preview(one, n, panelsShown),
      h("figcaption", {},
        h("span", { class: "name" }, one.file.name || t("yourPicture", { n: n + 1 })),
        h("button", { type: "button", class: "plain crop", onclick: () => recrop(n) }, t("crop")),
        h("button", {
          type: "button", class: "plain", "aria-label": `${t("remove")}: ${one.file.name || n + 1}`,
          onclick: () => askAgain(asked.filter((_, other) => other !== n)),
        }, t("remove")),
        countsField(answer, filters, one.place - 1, one.file.name || t("yourPicture", { n: n + 1 }), changeMix)))),
    others(answer, filters),
    many < MAX_PICTURES ? chooser(t("add"), "button small") : null);
}

async function recrop(n) {
  const { cropDialog } = await load("crop.js");
  const crop = await cropDialog(asked[n].url, asked[n].crop);
  if (crop === undefined || crop === asked[n].crop) return;
  askAgain(asked.map((one, other) => (other === n ? { ...one, crop, sent: null } : one)));
}

// One answer: the question on the left, what was found on the right.

import { bar, fill, h, later, link, picture, say } from "./dom.js";
import { language, number, percent, share, t } from "./strings.js";
import { get, send, withParams } from "./api.js";
import { server } from "./app.js";
import { saveButton } from "./account.js";
import { panelNote, panelPlace } from "./panels.js";
import { added, cardList, comingMore, densitySwitch } from "./listing.js";
import { lookButton } from "./look.js";
import { markButtons, marksNote } from "./marks.js";
import { subjectSlider } from "./subject.js";
import { wordsField } from "./words.js";

const UNSEEN = new Set(["k", "exclude_title", "liked", "disliked", "panel", "panels", "with", "weights"]); // of the address, not of the form
const NEARER = ["50", "90", "99", "99.9"]; // than so many percent of pairs by different artists
const STEP = 10;
const WIDE = matchMedia("(min-width: 54.01rem)"); // where the question stands beside the answer
WIDE.addEventListener("change", () => { for (const one of document.querySelectorAll(".all-labels")) one.open = WIDE.matches; });
const MAX_K = 200;

export function answerView(answer, context) {
  const found = answer.titles ?? answer.pictures;
  const k = Number(context.filters.k ?? STEP);
  let shown = found;
  const list = cardList(cardsOf(found, context));
  const more = {
    k, most: MAX_K, step: 2 * STEP,
    ask: (length) => context.ask({ ...context.filters, k: length }).then((longer) => longer.titles ?? longer.pictures),
    show: (longer, length) => {
      const below = added(longer, shown);
      if (below) list.append(...cardsOf(below, context, shown.at(-1)));
      else fill(list, cardsOf(longer, context));
      shown = longer;
      context.grown(length);
    },
  };
  return h("div", { class: "answer" },
    context.subject?.like ? null : h("h1", { class: "hidden" }, t("result")), // a picture of the index has its title's name
    h("div", { class: "question", "data-drop": context.words ? null : t("dropWith") }, context.tiles ?? h("p", { class: "soft" }, t("notStored")),
      context.words ? null : h("p", { class: "on-map" }, h("a", { class: "plain", href: withParams("map", answer.id ? { r: answer.id } : { like: context.subject?.like }) }, t("onMap"))),
      conclusion(answer.labels), allLabels(answer.labels)),
    h("section", { class: "found", "aria-label": t("result") }, h("h2", { class: "hidden" }, t("drawnAlike")),
      toolbar(answer, context),
      notes(answer),
      marksNote(context),
      found.length
        ? list
        : h("p", { class: "empty" }, t("none")),
      found.length >= k && k < MAX_K
        ? comingMore(more)
        : null,
      h("p", { class: "soft basis" }, t("basis", { id: answer.query.generation, n: number(answer.query.pictures_count), model: answer.query.model }))));
}

// Pictures that the first ones brought in stand apart, under a heading.
const cardsOf = (found, context, before) => found.flatMap((one, n) => [
  one.expanded && !(found[n - 1] ?? before)?.expanded ? h("li", { class: "apart" }, h("h3", {}, t("expanded"))) : null, card(one, context),
]).filter(Boolean);

// One of four ideas, in the words of strings.js; the server decides which.
function conclusion(labels) {
  if (!labels.conclusion) return null;
  const [before, after] = t(`concluded ${labels.conclusion}`, { name: "\u0000" }).split("\u0000");
  return h("p", { class: "conclusion" }, before, after === undefined ? null : [h("strong", {}, labels.authors[0].label), after]);
}

function allLabels(labels) {
  const groups = labelGroups(labels).filter(Boolean);
  return groups.length ? h("details", { class: "all-labels", open: WIDE.matches }, h("summary", {}, t("allOfIt")), groups) : null;
}

// Bars are whole percents that add up to 100; what is no label has a word of its own.
function labelGroups(labels) {
  const said = { nobody: t("nobodyHere"), others: t("others") };
  return [["author", "artist"], ["genre", "genre"], ["era", "era"]].map(([kind, key]) => {
    const bars = labels.bars[kind];
    if (!bars.length) return null;
    return h("div", { class: "labels" }, h("h2", {}, labels.conclusion === "other kind" && kind !== "author" ? t("onlyShares", { what: t(key) }) : t(key)),
      h("dl", {}, bars.map((one) => h("div", { class: one.what === "label" ? null : "none" },
        h("dt", { title: said[one.what] ?? one.label }, said[one.what] ?? (kind === "author" ? h("a", { href: withParams("author", { name: one.label }) }, one.label) : one.label)),
        h("dd", {}, bar(one.percent / 100, share(one.percent / 100)), h("span", {}, share(one.percent / 100)))))));
  });
}

function notes(answer) {
  const said = [];
  const { notes: all } = answer.query;
  for (const note of all.slice(0, all.length - (answer.refused ?? []).length)) { // those come last, and are told by code
    if (note.startsWith("the picture itself")) said.push(t("itself"));
    else if (note.startsWith("left out: pictures by ")) said.push(t("leftOut", { who: note.slice(22) }));
    else if (note.startsWith("the filters left")) said.push(t("candidates", { n: number(answer.query.candidates_count), total: number(answer.query.pictures_count) }));
    else if (note.startsWith("no artist is known")) said.push(t("noneLeftOut"));
    else if (/^words were compared/.test(note)) said.push(t("byWords"));
    else if (/^what pictures show cannot/.test(note)) said.push(t("noClip"));
    else if (/^the words were looked for/.test(note)) said.push(t("byShown"));
    else if (/^nothing here is called/.test(note)) said.push(t("calledSo", { word: note.slice(24, -1) }));
    else if (/^ranked \d/.test(note)) said.push(t("byBoth", { p: Math.round(100 * answer.query.subject) }));
    else if (note.startsWith("too long to be seen whole")) said.push(t("tooLong"));
    else if (/^\d+ of the \d+/.test(note)) said.push(t("fewer"));
    else said.push(panelNote(note) ?? note);
  }
  return said.length ? h("p", { class: "notes soft" }, [...new Set(said)].join(" ")) : null;
}

// Words first; behind the i what they rest on, the number that the list is ordered by.
export function nearness(one) {
  const filled = -Math.log10(Math.max(1 - one.percentile / 100, 1e-5)) / 5;
  const said = t("nearer", { p: percent(one.percentile) });
  return h("div", { class: "near" }, bar(filled, said), h("b", {}, one.closeness ? t(`is ${one.closeness}`) : percent(one.percentile)),
    h("details", { class: "info" }, h("summary", { "aria-label": t("whatItMeans") }, "i"),
      h("p", {}, `${said}; ${t("cosine")} ${one.similarity.toFixed(3)}. ${one.closeness ? t("closenessMeans") : ""}`)));
}

// A title with the pictures that carried it, or one picture with its title.
export function card(one, context = null) {
  const shown = one.pictures ?? [one];
  const alt = t("pictureOf", { title: one.title }) + (one.authors.length ? ` ${t("by", { name: one.authors.join(", ") })}` : "");
  const like = (id) => withParams("./", { like: id, exclude_title: one.title_id });
  const [first, ...others] = shown;
  const entry = (hit) => ({ ...one, ...hit, alt, about: () => (hit.percentile === undefined ? null : nearness(hit)) });
  return h("li", { class: "card" },
    h("div", { class: "evidence", draggable: context ? "true" : null },
      lookButton(entry(first), { class: "large" }, picture(first.picture_id, "", { eager: one.rank < 7 })),
      others.length ? h("div", { class: "others" }, others.map((hit, n) =>
        lookButton(entry(hit), { class: "small", "aria-label": `${t("look")}: ${alt} (${n + 2})` }, picture(hit.picture_id, "", { size: "small" })))) : null),
    h("div", { class: "words" },
      h("h3", {}, one.rank ? h("span", { class: "rank" }, one.rank, " ") : null, h("a", { href: withParams("title", { id: one.title_id }) }, one.title)),
      byline(one.authors),
      h("p", { class: "meta" }, [...one.genres.slice(0, 2), one.year].filter(Boolean).join(" · "), panelPlace(first, one),
        swatchPlace(first.picture_id), one.url ? [" ", link(one.url, "↗", { "aria-label": `${t("openPage")}: ${one.title}` })] : null),
      one.percentile === undefined ? null : nearness(one),
      h("p", { class: "actions" },
        h("a", { class: "plain similar", href: like(first.picture_id) }, t("similar")), saveButton(one, first.picture_id, t("keep")),
        context && !context.words ? h("span", { class: "marks" }, markButtons(one, first.picture_id, context)) : null)));
}

// Swatches come after the pictures, in one request for all of them.
const waiting = new Map();
const askColours = later(async () => {
  const places = [...waiting];
  waiting.clear();
  const { colors } = await get("v1/colors", { picture: places.map(([id]) => id).slice(0, 200) }).catch(() => ({ colors: {} }));
  for (const [id, nodes] of places) {
    for (const node of nodes) if (colors[id]) node.replaceWith(swatches(colors[id]));
  }
}, 50);

function swatchPlace(id) {
  const node = h("span", { hidden: true });
  waiting.set(id, [...(waiting.get(id) ?? []), node]);
  askColours();
  return node;
}

export function swatches(colours) {
  if (!colours?.length) return null;
  return h("span", { class: "swatches", role: "img", "aria-label": `${t("palette")}: ${colours.map((one) => one.colour).join(", ")}` }, colours.map((one) => {
    const item = h("span", { title: `${one.colour} ${Math.round(100 * one.share)} %` });
    item.style.background = one.colour;
    item.style.flexGrow = String(Math.max(one.share, 0.03));
    return item;
  }));
}

export function byline(authors) {
  if (!authors.length) return h("p", { class: "by" }, t("authorUnknown"));
  return h("p", { class: "by" }, authors.map((name, n) => [n ? ", " : null, h("a", { href: withParams("author", { name }) }, name)]));
}

// A filter under its name.
const field = (name, ...parts) => h("div", { class: "field" }, h("span", { class: "caption", "aria-hidden": "true" }, name), h("div", { class: "controls" }, parts));

function toolbar(answer, context) {
  const { filters, facets } = context;
  const change = (part) => context.change({ ...filters, ...part }, Object.keys(part)[0]);
  const select = (name, all, options) => field(t(name), h("select", { id: `f-${name}`, "aria-label": t(name), onchange: (e) => change({ [name]: e.target.value ? [e.target.value] : [] }) },
    h("option", { value: "" }, all),
    options.map((one) => h("option", { value: one.name, selected: filters[name]?.includes(one.name) }, `${one.name} (${number(one.pictures_count)})`))));
  const year = (name, label, fallback) => h("input", {
    type: "number", id: `f-${name}`, value: filters[name] ?? "", placeholder: fallback ?? "", min: -9999, max: 9999, "aria-label": `${t("years")} ${label}`,
    onchange: (e) => {
      const [first, last] = [["year_from", e.target.value], ["year_to", e.target.value]].map(([one, value]) => (one === name ? value : filters[one] ?? ""));
      if (first && last && Number(first) > Number(last)) context.wrong(name, t("yearsTurned", { first, last }));
      else change({ [name]: e.target.value });
    },
  });
  const chips = (filters.exclude_author ?? []).map((name) => h("button", {
    type: "button", class: "chip", "aria-label": `${t("remove")}: ${name}`,
    onclick: () => change({ exclude_author: filters.exclude_author.filter((other) => other !== name) }),
  }, `− ${name} ×`));
  const list = h("select", { id: "f-by", "aria-label": t("list"), onchange: (e) => change({ by: e.target.value }) },
    [["title", "byTitle"], ["picture", "byPicture"]].map(([value, key]) => h("option", { value, selected: answer.query.by === value }, t(key))));
  return h("div", { class: "toolbar" },
    h("details", { class: "filters", open: Object.keys(filters).some((name) => !UNSEEN.has(name)) || innerWidth > 900 },
      h("summary", {}, t("filters")),
      h("div", { class: "fields" },
        facets.genres.length > 1 ? select("genre", t("anyGenre"), facets.genres) : null,
        facets.platforms.length > 1 ? select("platform", t("anyPlatform"), facets.platforms) : null,
        facets.years.first !== null ? field(t("years"), year("year_from", t("from"), facets.years.first), "–", year("year_to", t("to"), facets.years.last)) : null,
        context.words ? null : nearerField(filters, change), facets.colors ? paletteField(filters, change) : null,
        context.words ? null : field(t("names"), wordsField(filters.text, (text) => change({ text }))),
        facets.subjects && !context.words ? field(t("subjectLabel"), subjectSlider(filters.subject, (subject) => change({ subject }))) : null,
        authorField((name) => change({ exclude_author: [...(filters.exclude_author ?? []), name] }))),
      h("div", { class: "also" },
        context.words ? null : h("label", { class: "check" }, h("input", { type: "checkbox", id: "f-else", checked: Boolean(filters.exclude_same_author), onchange: (e) => change({ exclude_same_author: e.target.checked || "" }) }), t("someoneElse")),
        chips,
        Object.keys(filters).some((name) => !["exclude_title", "with", "weights"].includes(name)) ? h("button", { type: "button", class: "plain", onclick: () => context.change({ exclude_title: filters.exclude_title, with: filters.with, weights: filters.weights }) }, t("reset")) : null)),
    shareAndSave(answer, filters, list));
}

function nearerField(filters, change) {
  const own = filters.min_percentile;
  const options = own && !NEARER.includes(own) ? [...NEARER, own].sort((a, b) => a - b) : NEARER;
  return field(t("nearness"), h("select", { id: "f-min_percentile", "aria-label": t("closenessFilter"), onchange: (e) => change({ min_percentile: e.target.value }) },
    h("option", { value: "" }, t("anyCloseness")),
    options.map((one) => h("option", { value: one, selected: one === own }, t("nearerThan", { p: `${one}\u00a0%` })))));
}

// Colours by name or number, or picked.
function paletteField(filters, change) {
  const input = h("input", {
    type: "text", id: "f-palette", value: filters.palette ?? "", placeholder: t("paletteExample"), "aria-label": t("paletteFilter"), maxlength: 200, autocomplete: "off",
    onchange: () => change({ palette: input.value.trim() }),
  });
  const add = (color) => change({ palette: [input.value.trim(), color].filter(Boolean).join(", ") });
  return field(t("palette"), input,
    h("input", { type: "color", "aria-label": t("pickColor"), title: t("pickColor"), value: "#c08040", onchange: (e) => add(e.target.value) }));
}

// The author's name with suggestions from the index.
function authorField(choose) {
  const list = h("datalist", { id: "authors" });
  const input = h("input", { type: "search", id: "f-exclude_author", list: "authors", placeholder: t("name"), "aria-label": t("excludeAuthor"), maxlength: 200, autocomplete: "off" });
  const suggest = later(async () => {
    if (!input.value) return;
    const { authors } = await get("v1/authors", { q: input.value });
    fill(list, authors.slice(0, 12).map((one) => h("option", { value: one.author })));
  });
  input.addEventListener("input", suggest);
  input.addEventListener("change", () => { if (input.value.trim()) choose(input.value.trim()); });
  return field(t("excludeAuthor"), input, list);
}

// How the list is seen, and what can be done with the answer.
function shareAndSave(answer, filters, list) {
  const address = `v1/results/${encodeURIComponent(answer.id)}`;
  const out = h("div", { class: "shared" });
  const sharing = async () => {
    try {
      const made = await send("POST", withParams(`${address}/share`, { panel: filters.panel, with: filters.with, weights: filters.weights }));
      const full = new URL(withParams("./", { r: made.id, ...filters, panel: null, with: null, weights: null }), location.href).href;
      fill(out, h("input", { readonly: true, value: full, "aria-label": t("copyThis"), onfocus: (e) => e.target.select() }),
        h("span", { class: "soft" }, t("shareNote", { date: new Date(made.expires).toLocaleDateString(language) })));
      history.replaceState(null, "", full);
      await navigator.clipboard?.writeText(full).then(() => say(t("copied", { link: full })), () => {});
    } catch (error) {
      fill(out, h("span", { role: "alert" }, error.full ?? error.message));
    }
  };
  return [h("div", { class: "saving" }, list, densitySwitch(), answer.id ? [
    server.shares === false ? null : h("button", { type: "button", class: "button small share", onclick: sharing }, t("share")),
    h("span", { class: "soft" }, t("export"), " ",
      ["json", "csv", "html"].map((form) => [h("a", { href: withParams(address, { ...filters, format: form }), download: `toonsearch.${form}` }, form.toUpperCase()), " "]))] : null),
  out];
}

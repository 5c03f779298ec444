// What the index holds: a title, an author, and all of them.

import { fill, h, later, link, mounted, say } from "./dom.js";
import { number, percent, t } from "./strings.js";
import { get, segment, withParams } from "./api.js";
import { byline, card, swatches } from "./results.js";
import { lookButton } from "./look.js";

const waiting = (main) => fill(main, h("p", { class: "busy" }, h("span", { class: "spinner" }), t("loading")));

export async function titlePage(main, params, signal) {
  waiting(main);
  const path = `v1/titles/${segment(params.get("id") ?? "")}`;
  const title = await get(path, {}, signal);
  document.title = `${title.title} – toonsearch`;
  const grid = h("ul", { class: "grid" });
  const more = h("button", { type: "button", class: "button", onclick: async () => {
    put(await get(path, { offset: grid.children.length }, signal));
  } }, t("morePage"));
  const put = (part) => {
    grid.append(...part.pictures.map((one) => h("li", {}, lookButton(
      { ...title, ...one, year: one.year ?? title.year, alt: t("pictureOf", { title: title.title }) }, {}, mounted(one.picture_id, "")))));
    more.hidden = grid.children.length >= title.pictures_count;
  };
  put(title);
  fill(main, h("article", { class: "work" },
    h("header", {}, h("h1", {}, title.title), byline(title.authors),
      h("p", { class: "meta" }, [...title.genres, title.year, title.platform, t("picturesCount", { n: number(title.pictures_count) })].filter(Boolean).join(" · "),
        title.url ? [" · ", link(title.url, t("openPage"))] : null),
      swatches(title.palette)),
    drift(title.drift),
    h("section", {}, h("h2", {}, t("pictures")), grid, more),
    title.similar.length ? h("section", {}, h("h2", {}, t("drawnAlike")), h("ol", { class: "cards" }, title.similar.map((one) => card(one)))) : null));
}

export async function authorPage(main, params, signal) {
  waiting(main);
  const author = await get(`v1/authors/${segment(params.get("name") ?? "")}`, {}, signal);
  document.title = `${author.author} – toonsearch`;
  fill(main, h("article", { class: "work" },
    h("header", {}, h("h1", {}, author.author),
      h("p", { class: "meta" }, [t("worksCount", { n: number(author.titles_count) }), t("picturesCount", { n: number(author.pictures_count) })].join(" · ")),
      swatches(author.palette)),
    drift(author.drift),
    author.similar.length ? h("section", {}, h("h2", {}, t("drawnAlike")), h("ul", { class: "people" }, author.similar.map((one) => h("li", {},
      h("a", { href: withParams("author", { name: one.author }) }, mounted(one.pictures[0].picture_id, "", { size: "small" }), h("span", { class: "who" }, one.author, h("span", { class: "soft" }, one.title))))))) : null,
    h("section", {}, h("h2", {}, t("works")), h("ul", { class: "grid titles" }, author.titles.map(entry)))));
}

export async function browsePage(main, params, signal) {
  document.title = `${t("browse")} – toonsearch`;
  const authors = h("ul", { class: "people" });
  const titles = h("ul", { class: "grid titles" });
  const more = h("button", { type: "button", class: "button" }, t("morePage"));
  const counts = { authors: h("h2", {}, t("authors")), titles: h("h2", {}, t("titles")) };
  const genre = h("select", { "aria-label": t("genre"), onchange: () => search() }, h("option", { value: "" }, t("anyGenre")));
  const input = h("input", { type: "search", value: params.get("q") ?? "", placeholder: t("find"), "aria-label": t("find"), maxlength: 200, oninput: later(() => search()) });
  let turn = 0;
  const person = (one) => h("li", {}, h("a", { href: withParams("author", { name: one.author }) },
    mounted(one.picture_id, "", { size: "small" }), h("span", { class: "who" }, one.author), h("span", { class: "soft" }, number(one.pictures_count))));
  async function search() {
    const mine = ++turn;
    const q = input.value.trim();
    history.replaceState(null, "", withParams("browse", { q, genre: genre.value }));
    const [people, works] = await Promise.all([get("v1/authors", { q }, signal), get("v1/titles", { q, genre: genre.value }, signal)]);
    if (mine !== turn) return;
    fill(authors, people.authors.slice(0, q ? 24 : 12).map(person));
    fill(titles, works.titles.map(entry));
    counts.authors.textContent = `${t("authors")} (${number(people.count)})`;
    counts.titles.textContent = `${t("titles")} (${number(works.count)})`;
    more.hidden = titles.children.length >= works.count;
    say(t("found", { n: number(people.count + works.count) }));
  }
  more.addEventListener("click", async () => {
    const works = await get("v1/titles", { q: input.value.trim(), genre: genre.value, offset: titles.children.length }, signal);
    titles.append(...works.titles.map(entry));
    more.hidden = titles.children.length >= works.count;
  });
  const facets = await get("v1/facets", {}, signal);
  genre.append(...facets.genres.map((one) => h("option", { value: one.name, selected: params.get("genre") === one.name }, one.name)));
  fill(main, h("article", { class: "work" }, h("header", {}, h("h1", {}, t("browse")), h("form", { class: "finder", role: "search", onsubmit: (e) => { e.preventDefault(); search(); } }, input, genre)),
    h("section", {}, counts.authors, authors), h("section", {}, counts.titles, titles, more)));
  await search();
}

function entry(title) {
  return h("li", {}, h("a", { href: withParams("title", { id: title.title_id }) },
    mounted(title.picture_id, "", { size: "small" }), h("span", {}, title.title), h("span", { class: "soft" }, [title.authors[0], title.year].filter(Boolean).join(", "))));
}

// A line of years: how like the first year each one is drawn.
function drift(years) {
  if (!years?.length) return null;
  const first = years[0].year;
  const span = Math.max(1, years.at(-1).year - first);
  const low = Math.min(...years.map((one) => one.similarity), 0.5);
  const x = (one) => 20 + (560 * (one.year - first)) / span;
  const y = (one) => 12 + (76 * (1 - one.similarity)) / (1 - low || 1);
  return h("section", { class: "drift" }, h("h2", {}, t("drift")), h("p", { class: "soft" }, t("driftNote")),
    h("svg", { viewBox: "0 0 600 100", role: "img", "aria-label": years.map((one) => `${one.year}: ${one.similarity.toFixed(2)}`).join(", ") },
      h("polyline", { points: years.map((one) => `${x(one).toFixed(1)},${y(one).toFixed(1)}`).join(" ") }),
      years.map((one) => h("circle", { cx: x(one).toFixed(1), cy: y(one).toFixed(1), r: 4 }))),
    h("ol", { class: "years" }, years.map((one) => h("li", {}, h("a", { href: withParams("./", { like: one.picture_id }), "aria-label": `${t("similar")}: ${one.year}` }, mounted(one.picture_id, "", { size: "small" })),
      h("b", {}, one.year), h("span", { class: "soft" }, one.similarity.toFixed(2))))));
}

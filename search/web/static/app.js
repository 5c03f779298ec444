// The shell: which page belongs to the address, the navigation, the language.

import { fill, h, say, tell } from "./dom.js";
import { explain, language, setLanguage, t } from "./strings.js";
import { ApiError, get, here, load, root } from "./api.js";
import { searchPage, forgetPictures } from "./ask.js";
import "./given.js";
import { keysDialog } from "./keys.js";
import { accountPage } from "./account.js";

const PAGES = {
  "": searchPage,
  title: async (...given) => (await load("works.js")).titlePage(...given),
  author: async (...given) => (await load("works.js")).authorPage(...given),
  browse: async (...given) => (await load("works.js")).browsePage(...given),
  map: async (...given) => (await load("map.js")).mapPage(...given), account: accountPage,
  docs: async (...given) => (await load("docs.js")).docsPage(...given),
  galleries: async (...given) => (await load("galleries.js")).galleriesPage(...given),
  gallery: async (...given) => (await load("galleries.js")).galleryPage(...given),
};

export const server = { accounts: "off", account: null };
export let known; // what the server offers is known when this is done
let leave = () => {};

function chrome() {
  document.documentElement.lang = language;
  document.getElementById("skip").textContent = t("skip");
  const entry = (page, label) => h("a", { href: page || "./", "aria-current": here() === page ? "page" : null }, label);
  fill(document.getElementById("nav"),
    entry("", t("search")), entry("browse", t("browse")), entry("map", t("map")),
    entry("galleries", t("galleries")),
    server.accounts === "off" ? null : entry("account", server.account ?? t("signIn")),
    h("button", {
      type: "button", class: "language", lang: language === "ko" ? "en" : "ko", "aria-label": t("languageLabel"),
      onclick: () => setLanguage(language === "ko" ? "en" : "ko").then(show, () => tell(explain({ code: "offline" }).join(" "))),
    }, t("language")));
  fill(document.getElementById("footer"),
    h("p", {}, t("explainFoot")),
    h("p", {}, t("source"), " ", h("a", { href: "docs" }, t("docs")), " · ",
      h("button", { type: "button", class: "plain", onclick: keysDialog }, t("keys"))));
}

export async function show() {
  leave();
  const main = document.getElementById("main");
  const page = PAGES[here()] ?? searchPage;
  chrome();
  document.title = "toonsearch";
  const work = new AbortController();
  leave = () => work.abort();
  try {
    await page(main, new URLSearchParams(location.search), work.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(main, problem(error));
    say(error.message);
  }
}

export function problem(error) {
  if (error.code === "no_index") {
    return h("section", { class: "message" }, h("h1", {}, t("noIndex")), h("p", {}, t("noIndexHow")),
      h("pre", {}, "toonsearch import folder ~/drawings\ntoonsearch index build"),
      h("p", { class: "soft" }, error.message),
      h("button", { type: "button", class: "button", onclick: show }, t("retry")));
  }
  return h("section", { class: "message", role: "alert" }, h("h1", {}, error.message),
    error.hint ? h("p", {}, error.hint) : null,
    h("a", { class: "button", href: "./" }, t("again")));
}

export function go(address, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  show();
  if (!replace) {
    scrollTo(0, 0);
    document.getElementById("main").focus({ preventScroll: true });
  }
}

export async function refreshAccount() {
  try {
    const said = await get("v1/session");
    server.accounts = said.accounts;
    server.account = said.account;
    server.urls = said.url_queries;
    server.shares = said.share_days > 0;
  } catch { /* an older answer goes on */ }
}

document.addEventListener("click", (event) => {
  const anchor = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!anchor || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const url = new URL(anchor.href, location.href);
  const page = url.origin === location.origin && url.pathname.startsWith(root) ? url.pathname.slice(root.length) : null;
  if (!Object.hasOwn(PAGES, page) || anchor.target || anchor.hasAttribute("download")) return;
  if (url.hash && url.pathname === location.pathname) return;
  event.preventDefault();
  tell();
  if (!page && !url.search) forgetPictures();
  go(url.pathname + url.search);
});
addEventListener("popstate", () => { tell(); show(); });
// What a button asked for and did not get.
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") event.preventDefault(); // another page is shown
  if (!(event.reason instanceof ApiError)) return;
  event.preventDefault();
  tell(event.reason.full);
});
known = refreshAccount().finally(chrome);
show();

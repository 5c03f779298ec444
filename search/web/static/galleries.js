// Galleries: those that this browser keeps, and those of an account. Both can be had as files.

import { fill, h, mounted, say, tell } from "./dom.js";
import { language, number, t } from "./strings.js";
import { ApiError, file, get, segment, send, withParams } from "./api.js";
import { go, known, server, show } from "./app.js";
import { lookButton } from "./look.js";
import * as keep from "./keep.js";

const tile = (one, address, words) => h("li", {}, h("a", { href: address }, mounted(one.picture_id, "", { size: "small" }),
  h("span", {}, one.name), h("span", { class: "soft" }, words.join(" · "))));
const stored = (one) => tile(one, withParams("gallery", { id: one.id }), [one.owner, t("picturesCount", { n: number(one.pictures_count) }), one.public ? t("isPublic") : t("isPrivate")]);
const own = (one) => tile({ ...one, picture_id: one.pictures[0]?.picture_id }, withParams("gallery", { kept: one.id }), [t("picturesCount", { n: number(one.pictures.length) })]);

const part = (label, note, entries, ...more) => h("section", {}, h("h2", {}, label), note ? h("p", { class: "soft" }, note) : null,
  entries.length ? h("ul", { class: "grid titles" }, entries) : h("p", { class: "soft" }, t("empty")), more);

export async function galleriesPage(main, params, signal) {
  document.title = `${t("galleries")} – toonsearch`;
  await known;
  const found = server.accounts === "off" ? { mine: [], public: [] } : await get("v1/galleries", {}, signal);
  let here = [];
  let problem = null;
  await keep.galleries().then((list) => { here = list; }, (error) => { problem = h("p", { class: "notes", role: "alert" }, error.message); });
  const account = server.accounts === "off" ? null : server.account
    ? part(t("mine"), t("inAccount", { name: server.account }), found.mine.map(stored), newGallery(inAccount, (made) => go(withParams("gallery", { id: made.id }))))
    : h("p", {}, h("a", { class: "button", href: "account" }, t("signIn")));
  fill(main, h("article", { class: "work" }, h("header", {}, h("h1", {}, t("galleries"))),
    problem ?? part(t("inBrowser"), t("inBrowserNote"), here.map(own), newGallery(keep.newGallery, (made) => go(withParams("gallery", { kept: made.id })))),
    account, found.public.length ? part(t("publicOnes"), "", found.public.map(stored)) : null,
    problem ? null : await keptHere()));
}

// What lies in this browser, whether queries are to, and how it is cleared.
async function keptHere() {
  const now = await keep.kept();
  const remembers = h("input", { type: "checkbox", checked: keep.remembers(), onchange: () => keep.setRemembers(remembers.checked) });
  return h("section", {}, h("h2", {}, t("keptInBrowser")),
    h("p", {}, t("keptCounts", { galleries: number(now.galleries), queries: number(now.queries), mb: (now.bytes / 1e6).toLocaleString(language, { maximumFractionDigits: 1 }) })),
    h("p", {}, h("label", { class: "check" }, remembers, t("remember"))),
    h("p", { class: "buttons" },
      h("button", { type: "button", class: "button small", onclick: async () => { await keep.forgetRecent(); show(); } }, t("forgetQueries")),
      h("button", { type: "button", class: "button small", onclick: () => sure(t("clearAll"), t("reallyClear"), async () => {
        await keep.forgetRecent();
        for (const one of await keep.galleries()) await keep.removeGallery(one.id);
        show();
      }) }, t("clearAll"))));
}

const inAccount = (name) => send("POST", "v1/galleries", { name });

function newGallery(make, done) {
  const name = h("input", { type: "text", required: true, maxlength: 120, "aria-label": t("galleryName"), placeholder: t("newGallery") });
  return h("form", { class: "finder", onsubmit: (event) => {
    event.preventDefault();
    if (name.value.trim()) make(name.value.trim()).then(done).catch(refused);
  } }, name, h("button", { class: "button small" }, t("create")));
}

function refused(error) {
  if (!error.full) throw error;
  tell(error.full);
}

export async function galleryPage(main, params, signal) {
  if (params.get("kept")) return keptPage(main, params.get("kept"));
  const path = `v1/galleries/${segment(params.get("id") ?? "")}`;
  const gallery = await get(path, {}, signal);
  const again = async (method, address, body) => { await send(method, address, body); show(); };
  const words = [gallery.owner, t("picturesCount", { n: number(gallery.pictures.length) }), gallery.public ? t("isPublic") : t("isPrivate")];
  galleryView(main, gallery, words, gallery.mine ? [
    h("button", { type: "button", class: "button small", onclick: () => again("PATCH", path, { public: !gallery.public }) }, gallery.public ? t("makePrivate") : t("makePublic")),
    h("button", { type: "button", class: "button small", onclick: () => sure(t("delete"), t("reallyDelete"), async () => { await send("DELETE", path); go("galleries"); }) }, t("delete")),
  ] : [], gallery.mine ? (one) => [["remove", () => again("DELETE", `${path}/pictures/${one.picture_id}`)]] : () => []);
}

async function keptPage(main, id) {
  const gallery = await keep.gallery(id).catch((error) => { tell(error.message); });
  if (!gallery) return void fill(main, h("section", { class: "message", role: "alert" }, h("h1", {}, t("galleryGone")), h("p", {}, h("a", { class: "button", href: "galleries" }, t("galleries")))));
  // The page is made anew, and what was pressed has the focus again.
  const act = (work, name) => work().then(() => keptPage(main, id)).then(() => {
    (document.getElementById(name) ?? document.getElementById("main")).focus({ preventScroll: true });
  }).catch(refused);
  galleryView(main, gallery, [t("inBrowser"), t("picturesCount", { n: number(gallery.pictures.length) })], [
    h("button", { type: "button", class: "button small", onclick: () => renamed(gallery, () => keptPage(main, id)) }, t("rename")),
    h("button", { type: "button", class: "button small", onclick: () => sure(t("delete"), t("reallyDelete"), () => keep.removeGallery(id).then(() => go("galleries"))) }, t("delete")),
  ], (one, n) => [
    n ? ["earlier", () => act(() => keep.movePicture(id, one.picture_id, -1), `earlier-${one.picture_id}`), "←"] : null,
    n < gallery.pictures.length - 1 ? ["later", () => act(() => keep.movePicture(id, one.picture_id, 1), `later-${one.picture_id}`), "→"] : null,
    ["remove", () => act(() => keep.removePicture(id, one.picture_id), "main")],
  ]);
}

function galleryView(main, gallery, words, buttons, actions) {
  document.title = `${gallery.name} – toonsearch`;
  fill(main, h("article", { class: "work" }, h("header", {}, h("h1", {}, gallery.name), h("p", { class: "meta" }, words.join(" · ")),
    h("p", { class: "buttons" }, gallery.pictures.length ? [["zip", "asFolder"], ["html", "asPage"]].map(([format, word]) =>
      h("button", { type: "button", class: "button small", onclick: (event) => had(gallery, format, event.currentTarget) }, t(word))) : null, buttons)),
  gallery.pictures.length ? h("ul", { class: "grid" }, gallery.pictures.map((one, n) => {
    const title = one.title ?? "";
    return h("li", {},
      lookButton({ ...one, alt: t("pictureOf", { title }) }, {}, mounted(one.picture_id, "")),
      title ? h("a", { href: withParams("title", { id: one.title_id }) }, title) : null,
      h("p", { class: "actions" }, h("a", { class: "plain similar", href: withParams("./", { like: one.picture_id, exclude_title: one.title_id }) }, t("similar")),
        actions(one, n).filter(Boolean).map(([word, work, sign]) =>
          h("button", { type: "button", class: "plain", id: `${word}-${one.picture_id}`, "aria-label": `${t(word)}: ${title}`, title: t(word), onclick: work }, sign ?? t(word)))));
  })) : h("p", { class: "soft" }, t("emptyGallery"))));
}

// A gallery as a file, made by the server and saved by the browser.
async function had(gallery, format, button) {
  button.disabled = true;
  say(t("makingFile"));
  try {
    const { blob, headers } = await file("v1/galleries/file", { name: gallery.name, pictures: gallery.pictures.map((one) => one.picture_id).slice(0, keep.MAX_GALLERY), format });
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `${gallery.name.replace(/[^\p{L}\p{N} _-]+/gu, " ").trim() || "gallery"}.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    const missing = Number(headers.get("Left-Out"));
    if (missing) tell(t("leftOutOfFile", { n: number(missing) }));
    say(t("fileMade"));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    tell(error.full);
  } finally {
    button.disabled = false;
    button.focus();
  }
}

function dialog(label, ...content) {
  const node = h("dialog", { class: "cropper", "aria-label": label }, content);
  node.addEventListener("close", () => node.remove());
  document.body.append(node);
  node.showModal();
  return node;
}

const closing = () => h("button", { type: "button", class: "button small", onclick: (event) => event.target.closest("dialog").close() }, t("cancel"));

function sure(label, question, work) {
  const asked = dialog(label, h("p", {}, question), h("p", { class: "buttons" },
    h("button", { type: "button", class: "button main", onclick: () => { asked.close(); work().catch(refused); } }, label), closing()));
}

function renamed(gallery, done) {
  const name = h("input", { type: "text", required: true, maxlength: 120, value: gallery.name, "aria-label": t("galleryName") });
  const asked = dialog(t("rename"), h("form", { class: "finder", onsubmit: (event) => {
    event.preventDefault();
    if (!name.value.trim()) return;
    asked.close();
    keep.rename(gallery.id, name.value.trim()).then(done).catch(refused);
  } }, name, h("button", { class: "button small" }, t("rename"))), h("p", { class: "buttons" }, closing()));
}

// "Save to a gallery": into one of this browser's, or of the account that is signed in.
export async function choose(one) {
  await known;
  const entry = { picture_id: one.picture_id, title_id: one.title_id, title: one.title, authors: one.authors ?? [] };
  const here = await keep.galleries().catch((error) => { tell(error.message); return null; });
  const { mine } = server.account ? await get("v1/galleries") : { mine: [] };
  const put = (work, name) => work.then(() => { asked.close(); tell(t("saved", { name })); }).catch((error) => { asked.close(); refused(error); });
  const buttons = (list, add) => list.length ? h("ul", { class: "choices" }, list.map((gallery) => h("li", {},
    h("button", { type: "button", class: "button small", onclick: () => put(add(gallery), gallery.name) }, gallery.name)))) : null;
  const add = (gallery) => keep.addPicture(gallery.id, entry);
  const sendTo = (gallery) => send("POST", `v1/galleries/${segment(gallery.id)}/pictures`, { picture_id: one.picture_id });
  const asked = dialog(t("save"), h("h2", {}, t("save")),
    here ? [server.account ? h("h3", {}, t("inBrowser")) : null, buttons(here, add), newGallery(keep.newGallery, (made) => put(add(made), made.name))] : null,
    server.account ? [h("h3", {}, t("inAccount", { name: server.account })), buttons(mine, sendTo), newGallery(inAccount, (made) => put(sendTo(made), made.name))] : null,
    h("p", { class: "buttons" }, closing()));
}

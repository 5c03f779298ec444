// Accounts and the galleries that belong to them.

import { fill, h, mounted, say } from "./dom.js";
import { number, t } from "./strings.js";
import { get, send, segment, withParams } from "./api.js";
import { go, refreshAccount, server, show } from "./app.js";

export async function accountPage(main) {
  await refreshAccount();
  document.title = `${t("account")} – toonsearch`;
  if (server.accounts === "off") return void fill(main, h("p", { class: "message" }, t("accountsOff")));
  if (server.account) {
    return void fill(main, h("section", { class: "message" }, h("h1", {}, t("signedIn", { name: server.account })),
      h("p", {}, h("a", { class: "button main", href: "galleries" }, t("galleries"))),
      h("button", { type: "button", class: "button", onclick: async () => { await send("DELETE", "v1/session"); await refreshAccount(); go("account", true); } }, t("signOut"))));
  }
  fill(main, h("section", { class: "message forms" },
    credentials("signIn", "v1/session", "current-password"),
    server.accounts === "open" ? credentials("register", "v1/accounts", "new-password") : h("p", { class: "soft" }, t("invited"))));
}

function credentials(key, path, kind) {
  const name = h("input", { type: "text", autocomplete: "username", required: true, maxlength: 40, id: `${key}-name` });
  const password = h("input", { type: "password", autocomplete: kind, required: true, minlength: kind === "new-password" ? 10 : 1, maxlength: 200, id: `${key}-password` });
  const problem = h("p", { role: "alert" });
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await send("POST", path, { name: name.value, password: password.value });
        await refreshAccount();
        go("galleries", true);
      } catch (error) {
        problem.textContent = error.full ?? error.message;
      }
    },
  }, h("h2", {}, t(key)),
  h("label", { for: `${key}-name` }, t("name")), name,
  h("label", { for: `${key}-password` }, t("password")), password,
  kind === "new-password" ? h("p", { class: "soft" }, t("passwordRule")) : null,
  h("button", { class: "button main" }, t(key)), problem);
}

const tile = (one) => h("li", {}, h("a", { href: withParams("gallery", { id: one.id }) }, mounted(one.picture_id, "", { size: "small" }),
  h("span", {}, one.name), h("span", { class: "soft" }, [one.owner, number(one.pictures_count), one.public ? t("isPublic") : t("isPrivate")].join(" · "))));

export async function galleriesPage(main, params, signal) {
  document.title = `${t("galleries")} – toonsearch`;
  const found = await get("v1/galleries", {}, signal);
  const part = (label, list) => h("section", {}, h("h2", {}, label), list.length ? h("ul", { class: "grid titles" }, list.map(tile)) : h("p", { class: "soft" }, t("empty")));
  fill(main, h("article", { class: "work" }, h("header", {}, h("h1", {}, t("galleries")),
    server.account ? newGallery((made) => go(withParams("gallery", { id: made.id }))) : h("p", {}, h("a", { class: "button", href: "account" }, t("signIn")))),
  server.account ? part(t("mine"), found.mine) : null, part(t("publicOnes"), found.public)));
}

function newGallery(done) {
  const name = h("input", { type: "text", required: true, maxlength: 120, "aria-label": t("galleryName"), placeholder: t("newGallery") });
  return h("form", { class: "finder", onsubmit: async (event) => { event.preventDefault(); done(await send("POST", "v1/galleries", { name: name.value })); } },
    name, h("button", { class: "button small" }, t("create")));
}

export async function galleryPage(main, params, signal) {
  const path = `v1/galleries/${segment(params.get("id") ?? "")}`;
  const gallery = await get(path, {}, signal);
  document.title = `${gallery.name} – toonsearch`;
  const again = async (method, address, body) => { await send(method, address, body); show(); };
  fill(main, h("article", { class: "work" }, h("header", {}, h("h1", {}, gallery.name),
    h("p", { class: "meta" }, [gallery.owner, t("picturesCount", { n: number(gallery.pictures.length) }), gallery.public ? t("isPublic") : t("isPrivate")].join(" · ")),
    gallery.mine ? h("p", { class: "buttons" },
      h("button", { type: "button", class: "button small", onclick: () => again("PATCH", path, { public: !gallery.public }) }, gallery.public ? t("makePrivate") : t("makePublic")),
      h("button", { type: "button", class: "button small", onclick: () => remove(path) }, t("delete"))) : null),
  gallery.pictures.length ? h("ul", { class: "grid" }, gallery.pictures.map((one) => h("li", {},
    h("a", { href: withParams("./", { like: one.picture_id, exclude_title: one.title_id }), "aria-label": `${t("similar")}: ${one.title ?? ""}` }, mounted(one.picture_id, "")),
    one.title ? h("a", { href: withParams("title", { id: one.title_id }) }, one.title) : null,
    gallery.mine ? h("button", { type: "button", class: "plain", "aria-label": `${t("remove")}: ${one.title ?? ""}`, onclick: () => again("DELETE", `${path}/pictures/${one.picture_id}`) }, t("remove")) : null)))
    : h("p", { class: "soft" }, t("empty"))));
}

function remove(path) {
  const dialog = h("dialog", { class: "cropper", "aria-label": t("delete") }, h("p", {}, t("reallyDelete")), h("p", { class: "buttons" },
    h("button", { type: "button", class: "button main", onclick: async () => { await send("DELETE", path); dialog.close(); go("galleries"); } }, t("delete")),
    h("button", { type: "button", class: "button", onclick: () => dialog.close() }, t("cancel"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// "Save to a gallery" under a picture that was found.
export function saveButton(one, pictureId) {
  if (!server.account) return null;
  return h("button", { type: "button", class: "plain save", "aria-label": `${t("save")}: ${one.title}`, onclick: () => choose(pictureId) }, t("save"));
}

async function choose(pictureId) {
  const { mine } = await get("v1/galleries");
  const put = async (gallery) => {
    await send("POST", `v1/galleries/${segment(gallery.id)}/pictures`, { picture_id: pictureId });
    dialog.close();
    say(t("saved", { name: gallery.name }));
  };
  const dialog = h("dialog", { class: "cropper", "aria-labelledby": "save-title" }, h("h2", { id: "save-title" }, t("save")),
    h("ul", { class: "choices" }, mine.map((one) => h("li", {}, h("button", { type: "button", class: "button small", onclick: () => put(one) }, one.name)))),
    newGallery(put), h("p", { class: "buttons" }, h("button", { type: "button", class: "button small", onclick: () => dialog.close() }, t("cancel"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Accounts, and the button that puts a picture into a gallery.

import { fill, h } from "./dom.js";
import { t } from "./strings.js";
import { load, send } from "./api.js";
import { go, refreshAccount, server } from "./app.js";

export async function accountPage(main) {
  await refreshAccount();
  document.title = `${t("account")} – toonsearch`;
  if (server.accounts === "off") return void fill(main, h("section", { class: "message" }, h("h1", {}, t("accountsOff"))));
  if (server.account) {
    return void fill(main, h("section", { class: "message" }, h("h1", {}, t("signedIn", { name: server.account })),
      h("p", {}, h("a", { class: "button main", href: "galleries" }, t("galleries"))),
      h("button", { type: "button", class: "button", onclick: async () => { await send("DELETE", "v1/session"); await refreshAccount(); go("account", true); } }, t("signOut"))));
  }
  fill(main, h("section", { class: "message forms" }, h("h1", { class: "hidden" }, t("account")),
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

// "Save to a gallery" under a picture that was found.
export function saveButton(one, pictureId, label = t("save")) {
  return h("button", {
    type: "button", class: "plain save", "aria-label": `${t("save")}: ${one.title}`, "aria-haspopup": "dialog",
    onclick: async () => (await load("galleries.js")).choose({ ...one, picture_id: pictureId }),
  }, label);
}

// What was asked lately, on the page where one asks.

import { fill, h, tell } from "./dom.js";
import { language, t } from "./strings.js";
import { withParams } from "./api.js";
import { forgetRecent, recalled, recent, remember } from "./keep.js";

let told = false;

// Keeps the pictures of a query; that there is no room is said once.
export async function keepAsked(id, asked) {
  try {
    await remember(id, asked.map(({ sent, place }) => ({ name: sent.name, blob: sent.blob, crop: sent.crop ?? "", place })));
  } catch (error) {
    if (!told) tell(t("notRemembered", { why: error.message }));
    told = true;
  }
}

// The pictures of an earlier query as ask.js has them; null when this browser does not have them.
export async function askedBefore(id) {
  const found = await recalled(id).catch(() => null);
  return found?.pictures.map(({ name, blob, crop, place }) => ({
    file: new File([blob], name, { type: blob.type }), crop: crop || null, url: URL.createObjectURL(blob), sent: { name, blob, crop }, place,
  })) ?? null;
}

export async function showRecent(section) {
  const found = await recent().catch(() => []);
  section.hidden = !found.length;
  if (!found.length) return;
  fill(section, h("h2", {}, t("recentQueries")), h("div", { class: "examples few" }, found.map((one) => {
    const when = new Date(one.changed).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    const name = `${one.pictures[0].name}${one.pictures.length > 1 ? ` + ${one.pictures.length - 1}` : ""}, ${when}`;
    const url = URL.createObjectURL(one.pictures[0].blob);
    return h("a", { href: withParams("./", { r: one.id }), title: name },
      h("img", { src: url, alt: `${t("askedBefore")}: ${name}`, onload: () => URL.revokeObjectURL(url) }));
  })), h("p", { class: "soft" }, t("keptHere"), " ",
    h("button", { type: "button", class: "plain", onclick: async () => { await forgetRecent(); section.hidden = true; document.getElementById("main").focus(); } }, t("forgetQueries"))));
}

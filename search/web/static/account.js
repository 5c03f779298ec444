import { fill, h } from "./dom.js";
import { t } from "./strings.js";
export function saveButton() { return null; }
export async function accountPage(main) { fill(main, h("p", { class: "message" }, t("accountsOff"))); }
export const galleriesPage = accountPage;
export const galleryPage = accountPage;

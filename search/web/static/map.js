import { fill, h } from "./dom.js";
import { t } from "./strings.js";
export async function mapPage(main) { fill(main, h("p", { class: "busy" }, t("drawing"))); }

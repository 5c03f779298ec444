// What is dropped, pasted or chosen, on every page: pictures are asked about, a link is fetched
// where the server does that, and for anything else a word is said. The browser never leaves for it.

import { tell } from "./dom.js";
import { t } from "./strings.js";
import { withParams } from "./api.js";
import { MAX_PICTURES, askWith, take } from "./ask.js";
import { entryOf } from "./look.js";
import { go, known, server } from "./app.js";

// How files begin that are pictures; the system does not know every one's type.
const BEGINNING = /^(\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(hei|hev|mif|avi))/s;
const NAMED = 3;

export async function chosen(files) {
  tell();
  const known = await Promise.all(files.map(isPicture));
  const others = files.filter((_, n) => !known[n]);
  const tooMany = take(files.filter((_, n) => known[n]));
  tell(...[
    others.length ? t("notPictures", { names: names(others) }) : null,
    tooMany.length ? t("tooMany", { n: MAX_PICTURES, names: names(tooMany) }) : null,
  ].filter(Boolean));
}

async function isPicture(file) {
  try {
    const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 16).arrayBuffer()));
    return start !== "" && (file.type.startsWith("image/") || BEGINNING.test(start));
  } catch { // a folder, or a file that may not be read
    return false;
  }
}

function names(files) {
  const few = files.slice(0, NAMED).map((file) => file.name).join(", ");
  return files.length > NAMED ? t("andMore", { names: few, n: files.length - NAMED }) : few;
}

function ofLink(text) {
  try {
    const url = new URL(text.trim().split(/\s/)[0]);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

async function open(link) {
  tell();
  await known;
  if (server.urls) go(withParams("./", { url: link }));
  else tell(t("linksAreOff"));
}

const isField = (event) => event.target instanceof Element && Boolean(event.target.closest("input, textarea"));
const holds = (event, kind) => Boolean(event.dataTransfer?.types.includes(kind));
let own = false; // something of this page is dragged
let ownPicture = null; // and it is a result
let depth = 0;

function left() {
  depth = 0;
  document.body.classList.remove("dragging");
}

// A result may be dragged to the question, to ask with it as well.
const question = (event) => (ownPicture && event.target instanceof Element ? event.target.closest(".question") : null);
addEventListener("dragstart", (event) => {
  own = true;
  const dragged = event.target instanceof Element ? event.target.closest(".evidence[draggable]") : null;
  if (!dragged) return;
  const at = event.clientX || event.clientY ? document.elementFromPoint(event.clientX, event.clientY) : null;
  const button = at?.closest(".look") ?? dragged.querySelector(".look");
  ownPicture = entryOf(button).picture_id;
  event.dataTransfer.effectAllowed = "copy";
  event.dataTransfer.setData("text/plain", entryOf(button).alt);
  const image = button.querySelector("img");
  if (image) event.dataTransfer.setDragImage(image, image.width / 2, image.height / 2);
  document.body.classList.add("dragging-result");
});
addEventListener("dragend", () => {
  own = false;
  ownPicture = null;
  document.body.classList.remove("dragging-result");
});
addEventListener("dragenter", (event) => {
  if (own) return;
  event.preventDefault();
  depth += 1;
  document.body.classList.add("dragging");
  document.body.dataset.drop = t("dropNow");
});
addEventListener("dragleave", () => { if (depth <= 1) left(); else depth -= 1; });
addEventListener("dragover", (event) => {
  if (isField(event) && !holds(event, "Files")) return; // words for a field
  event.preventDefault();
  event.dataTransfer.dropEffect = own && !question(event) ? "none" : "copy";
});
addEventListener("drop", (event) => {
  left();
  if (isField(event) && !holds(event, "Files")) return;
  event.preventDefault();
  if (question(event)) askWith(ownPicture);
  if (own) return;
  const files = [...event.dataTransfer.files];
  const link = ofLink(event.dataTransfer.getData("text/uri-list") || event.dataTransfer.getData("text/plain"));
  if (files.length) chosen(files);
  else if (link) open(link);
  else tell(t("nothingTaken"));
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  const link = isField(event) ? null : ofLink(event.clipboardData?.getData("text/plain") ?? "");
  if (!files.length && !link) return;
  event.preventDefault();
  if (files.length) chosen(files);
  else open(link);
});

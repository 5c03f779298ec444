// Which parts of two pictures make them alike, as heat to lay over each of them.

import { h } from "./dom.js";
import { get, sendPictures } from "./api.js";

const SIDE_PX = 240; // of the heat, which is soft
const HEAT = [222, 0, 122]; // few drawings are pink
const STRONGEST = 240; // of 255, so that the drawing stays visible
const known = new Map(); // by the two pictures
const KEPT = 60;

// The answer for a picture of the question and a hit. The source is an id of the index, or what was
// sent; its part is that which found the hit, where the picture was cut.
export async function why(source, hit) {
  const { name, ask, place } = source.id ? ofIndex(source.id, hit) : await ofBlob(source, hit);
  if (!known.has(name)) {
    const found = ask();
    known.set(name, found);
    found.catch(() => known.delete(name));
    if (known.size > KEPT) known.delete(known.keys().next().value);
  }
  const found = await known.get(name);
  return { query: { ...found.query, box: inside(place, found.query.box) }, hit: found.hit };
}

const WHOLE = [0, 0, 1, 1];

function ofIndex(asked, hit) {
  return { name: `${asked} ${hit.picture_id}`, ask: () => get("v1/why", { picture: hit.picture_id, asked }), place: WHOLE };
}

async function ofBlob(source, hit) {
  const { blob, crop } = source.sent();
  const part = source.part(hit);
  const cut = part ? part.box.join(",") : crop ?? "";
  return {
    name: `${source.url} ${cut} ${hit.picture_id}`,
    ask: () => sendPictures("v1/why", [{ blob, crop: cut, name: "picture" }], { picture: hit.picture_id }),
    place: part ? await placeOf(part.box, blob, crop) : WHOLE,
  };
}

// A box of the picture as it was sent, as shares of what is shown of it.
async function placeOf([x, y, w, hh], blob, crop) {
  const image = await createImageBitmap(blob);
  const [left, top, width, height] = crop ? crop.split(",").map((part, n) => parseFloat(part) / 100 * (n % 2 ? image.height : image.width)) : [0, 0, image.width, image.height];
  image.close();
  return [(x - left) / width, (y - top) / height, w / width, hh / height];
}

const inside = ([left, top, width, height], [x, y, w, hh]) => [left + x * width, top + y * height, w * width, hh * height];

// The heat over all of a picture of this size, in two layers: one colours what is painted, one what
// is dark, and paper stays white. Nothing where no part stands out.
export function heat({ box, falls, even }, [width, height]) {
  if (even) return [];
  const scale = SIDE_PX / Math.max(width, height);
  const cells = h("canvas", { width: falls[0].length, height: falls.length });
  const most = Math.max(...falls.flat());
  const pixels = cells.getContext("2d").createImageData(cells.width, cells.height);
  falls.flat().forEach((fall, n) => pixels.data.set([...HEAT, STRONGEST * Math.max(0, fall / most) ** 1.5], 4 * n));
  cells.getContext("2d").putImageData(pixels, 0, 0);
  const layer = (kind) => h("canvas", { class: `heat ${kind}`, width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)), "aria-hidden": "true" });
  return ["painted", "dark"].map((kind) => {
    const canvas = layer(kind);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(cells, box[0] * canvas.width, box[1] * canvas.height, box[2] * canvas.width, box[3] * canvas.height);
    return canvas;
  });
}

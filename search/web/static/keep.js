// What this browser keeps by itself, without an account: galleries, and what was asked lately with its
// pictures. It lies in IndexedDB; none of it is sent anywhere but to be asked again or made into a file.

import { t } from "./strings.js";
import { root } from "./api.js";

export const MAX_GALLERY = 1000; // pictures, as many as can be had as a file
const RECENT = 12; // queries
const RECENT_BYTES = 48_000_000;
const SWITCH = "remember";

export class KeepError extends Error {
  get full() { return this.message; }
}

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(`toonsearch ${root}`, 1); // other servers may lie beside this one
    request.onupgradeneeded = () => {
      request.result.createObjectStore("galleries", { keyPath: "id" });
      request.result.createObjectStore("recent", { keyPath: "id" });
    };
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      request.result.onclose = () => { opening = null; };
      request.result.onversionchange = () => { request.result.close(); opening = null; };
      resolve(request.result);
    };
  });
  return opening.catch((error) => { opening = null; throw error; });
}

// Does work with one store, all of it or nothing; gives what the work's last request gave.
async function within(store, mode, work) {
  try {
    const database = await open();
    return await new Promise((resolve, reject) => {
      const change = database.transaction(store, mode);
      let request = null;
      let refused = null;
      change.oncomplete = () => resolve(request?.result);
      change.onabort = () => reject(refused ?? change.error);
      try {
        request = work(change.objectStore(store), (error) => { refused = error; change.abort(); });
      } catch (error) {
        refused = error;
        change.abort();
      }
    });
  } catch (error) {
    if (error instanceof KeepError) throw error;
    throw new KeepError(t(error?.name === "QuotaExceededError" ? "browserFull" : "browserKeepsNothing"));
  }
}

const latestFirst = (list) => list.sort((a, b) => b.changed - a.changed);

// --- Galleries: { id, name, changed, pictures: [{ picture_id, title_id, title, authors }] } in order.

export const galleries = async () => latestFirst(await within("galleries", "readonly", (store) => store.getAll()));

export const gallery = (id) => within("galleries", "readonly", (store) => store.get(id));

export async function newGallery(name, pictures = []) {
  const made = { id: `${Date.now()}-${Math.floor(Math.random() * 1e6)}`, name, changed: Date.now(), pictures };
  await within("galleries", "readwrite", (store) => store.add(made));
  return made;
}

// Reads and writes in one go, so that two windows do not undo each other.
const change = (id, next) => within("galleries", "readwrite", (store, refuse) => {
  const request = store.get(id);
  request.onsuccess = () => {
    if (!request.result) return refuse(new KeepError(t("galleryGone")));
    const changed = { ...request.result, ...next(request.result) };
    if (changed.pictures.length > MAX_GALLERY) return refuse(new KeepError(t("galleryFull", { n: MAX_GALLERY })));
    return store.put({ ...changed, changed: Date.now() });
  };
  return request;
});

export const rename = (id, name) => change(id, () => ({ name }));

export const addPicture = (id, { picture_id, title_id, title, authors }) => change(id, ({ pictures }) => ({
  pictures: pictures.some((one) => one.picture_id === picture_id) ? pictures : [...pictures, { picture_id, title_id, title, authors }],
}));

export const removePicture = (id, pictureId) => change(id, ({ pictures }) => ({ pictures: pictures.filter((one) => one.picture_id !== pictureId) }));

// A picture earlier (by -1) or later (by 1) in its gallery.
export const movePicture = (id, pictureId, by) => change(id, ({ pictures }) => {
  const from = pictures.findIndex((one) => one.picture_id === pictureId);
  const to = Math.min(Math.max(from + by, 0), pictures.length - 1);
  const moved = pictures.filter((_, n) => n !== from);
  moved.splice(to, 0, ...pictures.slice(from, from + 1));
  return { pictures: moved };
});

export const removeGallery = (id) => within("galleries", "readwrite", (store) => store.delete(id));

// --- What was asked: { id: of the result, changed, pictures: [{ name, blob, crop, place }] }. The oldest make room.

export const remembers = () => {
  try { return localStorage.getItem(SWITCH) !== "off"; } catch { return true; }
};

export function setRemembers(on) {
  try { localStorage.setItem(SWITCH, on ? "on" : "off"); } catch { /* private mode */ }
}

const bytesOf = (one) => one.pictures.reduce((sum, { blob }) => sum + blob.size, 0);

export const recent = async () => latestFirst(await within("recent", "readonly", (store) => store.getAll()));

export const recalled = (id) => within("recent", "readonly", (store) => store.get(id));

export async function remember(id, pictures) {
  const made = { id, changed: Date.now(), pictures };
  if (!remembers() || bytesOf(made) > RECENT_BYTES) return;
  const old = (await recent()).filter((one) => one.id !== id);
  let room = RECENT_BYTES - bytesOf(made);
  const forgotten = old.filter((one, n) => (room -= bytesOf(one)) < 0 || n >= RECENT - 1);
  await within("recent", "readwrite", (store) => {
    for (const one of forgotten) store.delete(one.id);
    return store.put(made);
  });
}

export const forgetRecent = () => within("recent", "readwrite", (store) => store.clear());

// How much is kept: { galleries, pictures of recent queries, bytes of those }.
export async function kept() {
  const [mine, asked] = await Promise.all([galleries(), recent()]);
  return { galleries: mine.length, queries: asked.length, bytes: asked.reduce((sum, one) => sum + bytesOf(one), 0) };
}

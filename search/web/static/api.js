// The server's answers; a failed request is an ApiError with a code and a sentence.

import { explain } from "./strings.js";

// Where the page lies, such as /toon/. Every address is relative to it; the page may also be
// opened beside it, at /toon or past the proxy.
export const root = new URL("../", import.meta.url).pathname;
if (!location.pathname.startsWith(root)) {
  const page = `${location.pathname}/` === root ? "" : location.pathname.slice(1);
  history.replaceState(null, "", root + page + location.search + location.hash);
}
export const here = () => location.pathname.slice(root.length);

// What a proxy's own refusals mean; they carry no code.
const CODES = { 408: "slow", 413: "too_many_bytes", 429: "rate", 502: "offline", 503: "offline", 504: "offline" };

export class ApiError extends Error {
  constructor(status, body) {
    const code = body.code ?? CODES[status] ?? "http";
    const [message, hint] = explain({ ...body, code });
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }

  get full() { return `${this.message} ${this.hint}`.trim(); }
}

async function answered(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "offline" });
  }
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
  return response;
}

async function ask(path, options) {
  const response = await answered(path, options);
  return response.status === 204 ? {} : response.json().catch(() => ({}));
}

export const get = (path, params = {}, signal) => ask(withParams(path, params), { signal });

const sending = (method, value) => ({
  method,
  headers: { Accept: "application/json", "Content-Type": "application/json" },
  body: value === undefined ? undefined : JSON.stringify(value),
});

export const send = (method, path, value) => ask(path, sending(method, value));

// A file that the server makes: { blob, headers }.
export async function file(path, value) {
  const response = await answered(path, sending("POST", value));
  try {
    return { blob: await response.blob(), headers: response.headers };
  } catch { // it broke off
    throw new ApiError(0, { code: "offline" });
  }
}

export function withParams(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) {
      if (one !== "" && one !== null && one !== undefined && one !== false) query.append(name, one);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// Ask about pictures: { blob, name, crop } each.
export const query = (pictures, params, signal) => sendPictures("v1/query", pictures, params, signal);

export function sendPictures(path, pictures, params, signal) {
  const form = new FormData();
  for (const { blob, name, crop } of pictures) {
    form.append("picture", blob, name || "picture");
    form.append("crop", crop ?? "");
  }
  return ask(withParams(path, params), { method: "POST", body: form, signal });
}

export const segment = (text) => encodeURIComponent(text);

// A part of the page that is only loaded when it is wanted.
export const load = (name) => import(`./${name}`).catch(() => { throw new ApiError(0, { code: "offline" }); });

// The server's answers; a failed request is an ApiError with a code and a sentence.

import { explain } from "./strings.js";

export class ApiError extends Error {
  constructor(status, body) {
    super(explain(body) || body.error || `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? "";
    this.hint = body.hint ?? "";
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "offline", error: "The server cannot be reached." });
  }
  const body = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

export const get = (path, params = {}, signal) => ask(withParams(path, params), { signal });

export const send = (method, path, value) => ask(path, {
  method,
  headers: { Accept: "application/json", "Content-Type": "application/json" },
  body: value === undefined ? undefined : JSON.stringify(value),
});

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

export function query(asked, params, signal) {
  const form = new FormData();
  for (const { file, crop } of asked) {
    form.append("picture", file, file.name || "picture");
    form.append("crop", crop ?? "");
  }
  return ask(withParams("/v1/query", params), { method: "POST", body: form, signal });
}

export const segment = (text) => encodeURIComponent(text);

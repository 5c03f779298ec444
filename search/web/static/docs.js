// The API, to read and to try: each route of /openapi.json with a form that sends to it.

import { fill, h, say } from "./dom.js";
import { t } from "./strings.js";
import { get, root } from "./api.js";

const SHOWN = 20000; // letters of an answer
const BODIES = ["get", "post", "patch", "put", "delete"];

export async function docsPage(main, params, signal) {
  const spec = await get("openapi.json", {}, signal);
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const method of BODIES.filter((one) => methods[one])) {
      const [tag] = methods[method].tags ?? ["other"];
      groups.set(tag, [...groups.get(tag) ?? [], call(spec, path, method, methods[method])]);
    }
  }
  fill(main, h("section", { class: "work docs" },
    h("header", {}, h("h1", {}, "API"), h("p", { class: "lead-left" }, t("docsLead")),
      h("p", {}, h("a", { href: "openapi.json", download: "openapi.json" }, "openapi.json"), ` · toonsearch ${spec.info.version}`)),
    [...groups].map(([tag, calls]) => h("section", {}, h("h2", {}, tag), calls))));
}

// One route: what it does, a field for each parameter, and what came back.
function call(spec, path, method, about) {
  const given = (about.parameters ?? []).map((one) => ({ ...one, field: field(one, `${method}${path}`) }));
  const content = about.requestBody?.content ?? {};
  const files = content["multipart/form-data"] ? h("input", { type: "file", multiple: true, accept: "image/*", "aria-label": t("pictures") }) : null;
  const json = content["application/json"] ? h("textarea", { rows: 5, spellcheck: "false", "aria-label": "JSON" }) : null;
  if (json) json.value = JSON.stringify(example(spec, content["application/json"].schema), null, 2);
  const out = h("div", { class: "came-back", role: "status" });
  const [first, ...more] = (about.description ?? about.summary ?? "").split(/\n\s*\n/);
  return h("details", { class: "call" },
    h("summary", {}, h("code", { class: "verb" }, method.toUpperCase()), " ", h("code", {}, path), h("span", { class: "soft" }, first.replaceAll("`", "").split(/[.;:]\s/)[0])),
    h("form", { onsubmit: (event) => { event.preventDefault(); send({ path, method, given, files, json, out }); } },
      [first, ...more].map((one) => h("p", {}, one.replaceAll("`", ""))),
      files ? label("picture", t("docsPictures"), files) : null, json ? label("JSON", "", json) : null,
      given.map((one) => label(one.name, one.description ?? one.schema.description ?? "", one.field, one.required)),
      h("p", { class: "buttons" }, h("button", { class: "button main" }, t("docsSend"))), out));
}

const label = (name, text, control, required) => h("label", { class: "given" },
  h("span", {}, h("code", {}, name), required ? h("b", {}, " *") : null), control, h("span", { class: "soft" }, text.replaceAll("`", "")));

// The schema of a value that may be left out is one of two.
const one = (schema) => (schema.anyOf ? { ...schema, ...schema.anyOf.find((each) => each.type !== "null") } : schema);

function field({ name, required, schema }) {
  const about = one(schema);
  const choices = about.enum ?? (about.type === "boolean" ? ["true", "false"] : null);
  if (choices) return h("select", { name, required }, required ? null : h("option", { value: "" }, "–"), choices.map((value) => h("option", { value }, value)));
  const number = about.type === "integer" || about.type === "number";
  return h("input", { type: number ? "number" : "text", step: about.type === "number" ? "any" : null, name, required, maxlength: about.maxLength, placeholder: about.type === "array" ? t("docsSeveral") : about.default ?? "", autocomplete: "off" });
}

// A value as a schema describes it, to begin with.
function example(spec, schema) {
  if (schema.$ref) return example(spec, schema.$ref.split("/").slice(1).reduce((node, key) => node[key], spec));
  const about = one(schema);
  if (about.$ref) return example(spec, about);
  if (about.default !== undefined) return about.default;
  if (about.type === "object" || about.properties) return Object.fromEntries(Object.entries(about.properties ?? {}).map(([name, each]) => [name, example(spec, each)]));
  return { array: [], integer: 0, number: 0, boolean: false }[about.type] ?? (about.enum?.[0] ?? "");
}

async function send({ path, method, given, files, json, out }) {
  const query = new URLSearchParams();
  let address = path.slice(1);
  for (const { name, in: place, schema, field: { value } } of given) {
    if (value === "") continue;
    if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
    else for (const part of one(schema).type === "array" ? value.split(",") : [value]) query.append(name, part.trim());
  }
  if (query.size) address += `?${query}`;
  const options = { method: method.toUpperCase(), headers: { Accept: "application/json, */*" } };
  if (json) [options.body, options.headers["Content-Type"]] = [json.value, "application/json"];
  if (files) {
    options.body = new FormData();
    for (const file of files.files) options.body.append("picture", file, file.name);
  }
  fill(out, h("p", { class: "soft" }, t("loading")));
  const started = performance.now();
  try {
    const response = await fetch(address, options);
    const blob = await response.blob();
    const said = `${response.status} ${response.statusText} · ${Math.round(performance.now() - started)} ms · ${blob.type}`;
    fill(out, h("p", {}, h("strong", {}, said)), h("pre", { tabindex: 0, "aria-label": "curl" }, curl(address, options, files, json)), await shown(blob));
    say(said);
  } catch (error) {
    fill(out, h("p", { role: "alert" }, String(error.message)));
  }
}

async function shown(blob) {
  if (blob.type.startsWith("image/")) {
    const url = URL.createObjectURL(blob);
    return h("img", { src: url, alt: t("hit"), onload: () => URL.revokeObjectURL(url) });
  }
  if (!/json|text/.test(blob.type)) return h("p", { class: "soft" }, `${blob.size} B`);
  let text = await blob.text();
  try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON */ }
  return h("pre", { tabindex: 0, "aria-label": t("result") }, text.length > SHOWN ? `${text.slice(0, SHOWN)}\n…` : text);
}

// The same call for a terminal.
function curl(address, options, files, json) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", ...options.method === "GET" ? [] : ["-X", options.method]];
  if (files) for (const file of files.files) parts.push("-F", quoted(`picture=@${file.name}`));
  if (json) parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(json.value));
  return [...parts, quoted(new URL(root + address, location.href).href)].join(" ");
}

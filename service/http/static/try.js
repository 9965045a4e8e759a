// A form below an operation of the API: sends a real request, shows the answer, and the same request for a shell.

import { bytes, element, sentence, setText } from "./words.js";

// The fields of an operation that a form can fill in: { name, where, schema, required }. where: query or form.
// A parameter that can come in the query or in the form is sent in the form; of several names for one field, the first.
// A field with several names is the picture, without which nothing can be done.
function fieldsOf({ parameters = [], requestBody }) {
  const { properties = {}, required = [] } = requestBody?.content["multipart/form-data"].schema ?? {};
  const needed = new Set([...required, ...Object.values(properties).map((schema) => schema["x-alias-of"])]);
  const form = Object.entries(properties)
    .filter(([, schema]) => !schema["x-alias-of"])
    .map(([name, schema]) => ({ name, where: "form", schema, required: needed.has(name) }));
  const inForm = new Set(form.map(({ name }) => name));
  const inQuery = parameters.filter((parameter) => parameter.in === "query" && !inForm.has(parameter.name));
  return [...form, ...inQuery.map(({ name, schema, required = false }) => ({ name, where: "query", schema, required }))];
}

const isFile = ({ schema }) => schema.format === "binary";

// operation: of openapi.json. key(): the API key of the visitor, or "".
export function tryIt(path, method, operation, key) {
  const inputs = fieldsOf(operation).map((field) => ({ ...field, input: inputFor(field) }));
  const [files, others] = [inputs.filter(isFile), inputs.filter((field) => !isFile(field))];
  const command = element("code");
  const send = element("button", { type: "submit", textContent: "Send" });
  const cancel = element("button", { type: "button", textContent: "Cancel", className: "plain", hidden: true });
  const said = element("p", { className: "said" });
  const waited = element("span", { className: "quiet", ariaHidden: "true" }); // a screen reader would read every second
  said.setAttribute("role", "status");
  const shown = element("div");
  const form = element("form", { autocomplete: "off" }, ...files.map(labelled));
  form.setAttribute("aria-label", `${method.toUpperCase()} ${path}`);
  if (others.length) {
    const options = element("div", { className: "fields" }, ...others.map(labelled));
    form.append(files.length ? element("details", {}, element("summary", { textContent: "Options" }), options) : options);
  }
  const shell = scrolling("The same request in a shell", command);
  form.append(shell, element("p", { className: "buttons" }, send, cancel, waited), said, shown);
  form.addEventListener("invalid", openFold, true); // or the browser could not show what is wrong

  const given = () => inputs.flatMap((field) => valueOf(field).map((value) => ({ ...field, value })));
  const refresh = () => setText(command, curl(path, method, given(), operation.security && key()));
  form.addEventListener("input", refresh);
  form.addEventListener("key", refresh); // docs.js: the visitor has changed the key
  refresh();

  let url = ""; // of the answer that is shown
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const abort = new AbortController();
    const onCancel = () => abort.abort();
    cancel.addEventListener("click", onCancel);
    send.disabled = true;
    cancel.hidden = false;
    shown.replaceChildren();
    URL.revokeObjectURL(url);
    setText(said, "Waiting for the answer.");
    const started = performance.now();
    const tick = () => setText(waited, `${Math.round((performance.now() - started) / 1000)} s`);
    const ticking = setInterval(tick, 1000);
    try {
      const response = await fetch(request(path, method, given(), operation.security && key()), { signal: abort.signal });
      const body = await response.blob();
      setText(said, summary(response, body, performance.now() - started));
      url = URL.createObjectURL(body);
      shown.append(...(await answer(response, body, url)));
    } catch (error) {
      setText(said, error.name === "AbortError" ? "Cancelled." : "No answer came. The service cannot be reached, or the key cannot be sent.");
    } finally {
      clearInterval(ticking);
      setText(waited, "");
      cancel.removeEventListener("click", onCancel);
      send.disabled = false;
      if (document.activeElement === cancel) send.focus();
      cancel.hidden = true;
    }
  });
  return form;
}

function inputFor({ schema, name }) {
  const choices = schema.enum ?? schema.anyOf?.find((option) => option.enum)?.enum;
  if (isFile({ schema })) return element("input", { type: "file" });
  if (schema.type === "boolean") return element("input", { type: "checkbox" });
  if (schema.enum) {
    const options = ["", ...choices].map((value) => element("option", { value, textContent: value || "(not sent)" }));
    return element("select", {}, ...options);
  }
  const input = element("input", { type: "text", spellcheck: false });
  if (["integer", "number"].includes(schema.type)) {
    input.type = "number";
    input.step = schema.type === "integer" ? "1" : "any";
    for (const [limit, property] of [["minimum", "min"], ["maximum", "max"]]) {
      if (limit in schema) input[property] = schema[limit];
    }
  }
  if (choices) input.placeholder = `${choices[0]}, ${choices[1]} ...`;
  return input;
}

function openFold({ target }) {
  target.closest("details").open = true;
}

function labelled({ name, input, required }) {
  input.required = required;
  const label = element("label", {}, element("span", { textContent: required ? `${name} (required)` : name }), input);
  if (input.type === "checkbox") label.className = "check";
  return label;
}

// An empty field is not sent.
function valueOf({ input }) {
  if (input.type === "file") return [...input.files];
  if (input.type === "checkbox") return input.checked ? ["true"] : [];
  return input.value.trim() ? [input.value.trim()] : [];
}

function address(path, given) {
  const pairs = given.filter(({ where }) => where === "query").map(({ name, value }) => [name, value]);
  return path.slice(1) + (pairs.length ? `?${new URLSearchParams(pairs)}` : "");
}

function request(path, method, given, key) {
  const fields = given.filter(({ where }) => where === "form");
  const body = new FormData();
  for (const { name, value } of fields) body.append(name, value);
  const headers = key ? { "X-Api-Key": key } : {};
  return new Request(address(path, given), { method, headers, body: fields.length ? body : null });
}

function curl(path, method, given, key) {
  const parts = [];
  const fields = given.filter(({ where }) => where === "form");
  if (method !== "get" && !fields.length) parts.push(`-X ${method.toUpperCase()}`);
  if (key) parts.push("-H 'X-Api-Key: ...'");
  for (const { name, value } of fields) {
    parts.push(value instanceof File ? `-F ${quoted(`${name}=@"${value.name.replace(/["\\]/g, "\\$&")}"`)}` : `--form-string ${quoted(`${name}=${value}`)}`);
  }
  parts.push(quoted(new URL(address(path, given), document.baseURI).href));
  if (fields.length) parts.push("-o answer");
  return `curl ${parts.join(" \\\n  ")}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function summary(response, body, milliseconds) {
  const what = [response.status, response.statusText].filter(Boolean).join(" ");
  const wait = response.headers.get("Retry-After");
  const type = body.type ? `, ${body.type.split(";")[0]}` : "";
  return `${what} after ${(milliseconds / 1000).toFixed(1)} s: ${bytes(body.size)}${type}.${wait ? ` Try again in ${wait} s.` : ""}`;
}

async function answer(response, body, url) {
  const parts = [];
  const ending = { "image/jpeg": "jpg", "application/zip": "zip" }[body.type] ?? (body.type.split("/")[1]?.split(";")[0] || "bin");
  if (body.type.startsWith("image/")) parts.push(element("img", { src: url, alt: "The picture in the answer" }));
  if (/json|text/.test(body.type)) {
    const text = await body.text();
    const json = parsed(text);
    const message = json?.error?.message ?? json?.errors?.[0]?.detail;
    if (message) parts.push(element("p", { textContent: sentence(message) }));
    parts.push(scrolling("The body of the answer", json ? JSON.stringify(json, null, 2) : text));
  } else {
    parts.push(element("p", {}, element("a", { href: url, download: `answer.${ending}`, textContent: "Save the answer" })));
  }
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return [...parts, element("details", {}, element("summary", { textContent: "Headers" }), scrolling("The headers of the answer", headers))];
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // plain text, such as the metrics
  }
}

function scrolling(label, content) {
  const made = element("pre", { tabIndex: 0 }, content);
  made.setAttribute("role", "region");
  made.setAttribute("aria-label", label);
  return made;
}

// Shows openapi.json as a page, with a form for each operation. Text must only become text nodes, never HTML.

import { tryIt } from "./try.js";

const byId = (id) => document.getElementById(id);

const api = await described();
byId("title").textContent = api.info.title;
byId("version").textContent = `Version ${api.info.version}`;
byId("about").append(...prose(api.info.description));
byId("examples").textContent = examples(new URL(".", location.href).href);
byId("operations").append(...api.tags.flatMap(section));
byId("key").addEventListener("input", () => {
  for (const form of document.forms) form.dispatchEvent(new Event("key"));
});
byId("schemas").append(...Object.entries(api.components.schemas).map(schemaArticle));

async function described() {
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
    return await answer.json();
  } catch (error) {
    const text = "This page could not read openapi.json from the service, so it has nothing to show. Reload it to try again.";
    const said = element("p", text, "banner bad");
    said.setAttribute("role", "alert");
    byId("about").append(said);
    throw error;
  }
}

function examples(base) {
  return [
    "# remove the background",
    `curl -F image=@photo.jpg ${base}process -o cut-out.png`,
    "",
    "# a yellow background, as WebP, from raw bytes, with a key",
    `curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' -H 'X-Api-Key: ...' \\`,
    `     '${base}process?output=%23ffd166&format=webp' -o on-yellow.webp`,
    "",
    "# warm the service and show its state",
    `curl -X POST ${base}warmup`,
  ].join("\n");
}

function section(tag) {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag.name))
      .map(([method, operation]) => article(path, method, operation)),
  );
  return [element("h2", tag.name[0].toUpperCase() + tag.name.slice(1)), ...prose(tag.description), ...operations];
}

function article(path, method, operation) {
  const heading = element("h3");
  heading.append(element("span", method.toUpperCase(), "method"), element("code", path), element("span", operation.summary, "quiet"));
  const parts = [heading, ...prose(operation.description)];
  if (operation.parameters) {
    parts.push(
      element("h4", "Parameters"),
      table(["Name", "In", "Values", "Meaning"], operation.parameters.map((p) => [p.name, p.in, values(p.schema), p.description])),
    );
  }
  if (operation.requestBody) {
    const { description, content } = operation.requestBody;
    const types = Object.entries(content).map(([type, { schema }]) => [type, fields(schema)]);
    parts.push(element("h4", "Body"), ...prose(description), table(["Type", "Fields"], types));
  }
  const answers = Object.entries(operation.responses).map(([status, response]) => {
    const { description, headers = {}, content = {} } = resolve(response);
    return [status, description, Object.keys(content).map(code).join(" "), Object.keys(headers).map(code).join(" ")];
  });
  parts.push(element("h4", "Answers"), table(["Status", "When", "Type", "Headers"], answers));
  if (!("text/html" in (operation.responses["200"].content ?? {}))) {
    const form = element("details", "", "try");
    form.open = path === "/process";
    form.append(element("summary", "Try it"), tryIt(path, method, operation, () => byId("key").value.trim()));
    parts.splice(1, 0, form);
  }
  const container = element("article");
  container.append(...parts);
  return container;
}

function schemaArticle([name, { properties }]) {
  const rows = Object.entries(properties).map(([field, s]) => [field, values(s), s.description ?? ""]);
  const container = element("article");
  container.append(element("h3", name), table(["Field", "Type", "Meaning"], rows));
  return container;
}

function fields({ properties }) {
  if (!properties) return "the bytes of the image file";
  const names = Object.entries(properties).map(([name, schema]) => [name, schema["x-alias-of"]]);
  return names
    .filter(([, alias]) => !alias)
    .map(([name]) => [name, ...names.filter(([, alias]) => alias === name).map(([other]) => other)])
    .map((spellings) => spellings.map(code).join(" or "))
    .join(", ");
}

// The values of a schema in short: `a` `b` ..., number 0 to 1.
function values(schema) {
  const parts = [];
  for (const option of schema.anyOf ?? [schema]) {
    if (option.$ref) parts.push(code(option.$ref.split("/").at(-1)));
    else if (option.enum) parts.push(option.enum.map((value) => code(value)).join(" "));
    else if ("const" in option) parts.push(code(option.const));
    else if (option.pattern) parts.push(code(option.pattern));
    else if (option.type) parts.push([option.type].flat().join(" or "));
  }
  if ("maximum" in schema) parts.push(`${schema.minimum} to ${schema.maximum}`);
  return parts.join(", ");
}

function code(value) {
  return `\`${value}\``;
}

function resolve(node) {
  return node.$ref ? node.$ref.slice(2).split("/").reduce((at, key) => at[key], api) : node;
}

function table(head, rows) {
  const grid = element("table");
  const top = grid.createTHead().insertRow();
  for (const title of head) {
    const cell = element("th", title);
    cell.scope = "col";
    top.append(cell);
  }
  const body = grid.createTBody();
  for (const [first, ...rest] of rows) {
    const row = body.insertRow();
    const name = element("th");
    name.scope = "row";
    name.append(element("code", first));
    row.append(name);
    for (const text of rest) row.insertCell().append(...inline(text ?? ""));
  }
  const scroll = element("div", "", "scroll");
  scroll.tabIndex = 0; // so that the keyboard can scroll it
  scroll.append(grid);
  return scroll;
}

function prose(text = "") {
  return text.split("\n\n").filter(Boolean).map((paragraph) => {
    const p = element("p");
    p.append(...inline(paragraph));
    return p;
  });
}

// `code` in backticks is the only markup.
function inline(text) {
  return text.split("`").map((piece, index) => (index % 2 ? element("code", piece) : piece));
}

function element(tag, text = "", className = "") {
  const created = document.createElement(tag);
  created.textContent = text;
  if (className) created.className = className;
  return created;
}

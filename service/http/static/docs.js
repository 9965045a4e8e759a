// Lays out openapi.json for people. Text only ever becomes text nodes.

const byId = (id) => document.getElementById(id);

const api = await (await fetch("openapi.json")).json();
byId("title").textContent = api.info.title;
byId("version").textContent = `Version ${api.info.version}`;
byId("about").append(...prose(api.info.description));
byId("examples").textContent = examples(new URL(".", location.href).href);
byId("operations").append(...api.tags.flatMap(section));
byId("schemas").append(...Object.entries(api.components.schemas).map(schemaArticle));

function examples(base) {
  return [
    "# a cut-out on transparency",
    `curl -F image=@photo.jpg ${base}process -o cut-out.png`,
    "",
    "# on a colour, as WebP, from raw bytes, with a key",
    `curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' -H 'X-Api-Key: ...' \\`,
    `     '${base}process?output=%23ffd166&format=webp' -o on-yellow.webp`,
    "",
    "# warm the service and see what it says of itself",
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
      table(["Name", "In", "Takes", "Meaning"], operation.parameters.map((p) => [p.name, p.in, takes(p.schema), p.description])),
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
  const whole = element("article");
  whole.append(...parts);
  return whole;
}

function schemaArticle([name, schema]) {
  const inner = name === "Error" ? schema.properties.error : schema;
  const rows = Object.entries(inner.properties).map(([field, s]) => [field, takes(s), s.description ?? ""]);
  const whole = element("article");
  whole.append(element("h3", name), table(["Field", "Holds", "Meaning"], rows));
  return whole;
}

function fields({ properties, oneOf = [] }) {
  if (!properties) return "the bytes of the picture";
  const files = oneOf.map(({ required: [name] }) => name);
  const rest = Object.keys(properties).filter((name) => !files.includes(name));
  return `one of ${files.map(code).join(" ")}; and ${rest.map(code).join(" ")}`;
}

// What a schema takes, in short: `a` `b` ..., number 0 to 1, default `a`.
function takes(schema) {
  const said = [];
  for (const one of schema.anyOf ?? [schema]) {
    if (one.enum) said.push(one.enum.map((value) => code(value)).join(" "));
    else if ("const" in one) said.push(code(one.const));
    else if (one.pattern) said.push(code(one.pattern));
    else if (one.type) said.push([one.type].flat().join(" or "));
  }
  if ("maximum" in schema) said.push(`${schema.minimum} to ${schema.maximum}`);
  if ("default" in schema) said.push(`default ${code(schema.default)}`);
  return said.join(", ");
}

function code(value) {
  return `\`${value}\``;
}

function resolve(node) {
  return node.$ref ? node.$ref.slice(2).split("/").reduce((at, key) => at[key], api) : node;
}

function table(head, rows) {
  const whole = element("table");
  const top = whole.createTHead().insertRow();
  for (const title of head) {
    const cell = element("th", title);
    cell.scope = "col";
    top.append(cell);
  }
  const body = whole.createTBody();
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
  scroll.append(whole);
  return scroll;
}

function prose(text = "") {
  return text.split("\n\n").filter(Boolean).map((paragraph) => {
    const p = element("p");
    p.append(...inline(paragraph));
    return p;
  });
}

// `code` in backticks is all the markup there is.
function inline(text) {
  return text.split("`").map((piece, index) => (index % 2 ? element("code", piece) : piece));
}

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

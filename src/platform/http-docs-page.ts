// The three files of the /docs page. The script builds the page with textContent only, so that nothing a route says about
// itself can become markup.

export const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="stylesheet" href="docs/docs.css">
<script type="module" src="docs/docs.js"></script>
</head>
<body>
<main id="api"><p>Reading openapi.json …</p></main>
<noscript>This page needs JavaScript; the same is in <a href="openapi.json">openapi.json</a>.</noscript>
</body>
</html>
`;

export const DOCS_STYLE = `:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { margin-bottom: 0; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary code { font-weight: 600; }
pre, table { overflow-x: auto; font-size: .875rem; }
pre { background: #8881; padding: .6rem; border-radius: .3rem; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #8884; padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
`;

export const DOCS_SCRIPT = `const main = document.getElementById("api");

function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content.filter((part) => part !== undefined && part !== null));
  return made;
}

function resolve(spec, schema) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((at, part) => at?.[part], spec);
}

function expand(spec, schema, depth) {
  const known = resolve(spec, schema);
  if (!known || typeof known !== "object" || depth > 8) return known;
  if (Array.isArray(known)) return known.map((part) => expand(spec, part, depth + 1));
  return Object.fromEntries(Object.entries(known).map(([name, part]) => [name, expand(spec, part, depth + 1)]));
}

function typeText(schema) {
  if (!schema) return "";
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type ?? "";
  const format = schema.format ? " (" + schema.format + ")" : "";
  const values = schema.enum ? ": " + schema.enum.join(", ") : "";
  return type + format + values;
}

function parameters(list) {
  const rows = list.map((parameter) => element("tr",
    element("td", element("code", parameter.name)),
    element("td", parameter.in + (parameter.required ? ", required" : "")),
    element("td", typeText(parameter.schema)),
    element("td", parameter.description ?? parameter.schema?.description ?? "")));
  const head = element("tr", ...["name", "in", "type", "meaning"].map((title) => element("th", title)));
  return element("table", element("thead", head), element("tbody", ...rows));
}

function content(spec, body) {
  return Object.entries(body?.content ?? {}).map(([type, media]) => element("div",
    element("div", type), element("pre", JSON.stringify(expand(spec, media.schema, 0), null, 2) ?? "")));
}

function operation(spec, path, method, detail) {
  const made = element("details",
    element("summary", element("code", method.toUpperCase() + " " + path), " ", detail.summary ?? ""),
    detail.description ? element("p", detail.description) : undefined);
  if (detail.parameters?.length) made.append(element("h3", "Parameters"), parameters(detail.parameters));
  if (detail.requestBody) made.append(element("h3", "Body"), ...content(spec, detail.requestBody));
  for (const [status, response] of Object.entries(detail.responses ?? {})) {
    made.append(element("h3", status + " " + response.description));
    if (!(response.content && "application/problem+json" in response.content)) made.append(...content(spec, response));
  }
  return made;
}

try {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error("openapi.json answered " + answer.status);
  const spec = await answer.json();
  document.title = spec.info.title;
  const link = element("a", "openapi.json");
  link.href = "openapi.json";
  main.replaceChildren(
    element("h1", spec.info.title),
    element("p", "Version " + spec.info.version + ", ", link),
    element("p", spec.info.description ?? ""));
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, detail] of Object.entries(methods)) main.append(operation(spec, path, method, detail));
  }
} catch (error) {
  main.replaceChildren(element("p", "The page could not be made: " + error.message));
}
`;

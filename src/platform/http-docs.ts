// Documentation that works offline and under a strict content security policy: /openapi.json is made from the routes, and
// /docs is a page of our own that reads it. Script and style are separate same-origin files; nothing is fetched elsewhere.
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Env } from "hono";
import { DOCS_PAGE, DOCS_SCRIPT, DOCS_STYLE } from "./http-docs-page.ts";

export interface DocumentedService {
  readonly title: string;
  readonly version: string;
  readonly description: string;
}

export function addDocs<E extends Env>(app: OpenAPIHono<E>, options: DocumentedService): void {
  // Made at the first request, when all routes are there; they cannot change after it.
  let document: string | undefined;
  app.get("/openapi.json", (c) => {
    document ??= JSON.stringify(
      app.getOpenAPI31Document({
        openapi: "3.1.0",
        info: { title: options.title, version: options.version, description: options.description },
      }),
    );
    return c.body(document, 200, { "content-type": "application/json" });
  });
  app.get("/docs", (c) => c.body(DOCS_PAGE, 200, { "content-type": "text/html; charset=utf-8" }));
  app.get("/docs/docs.js", (c) => c.body(DOCS_SCRIPT, 200, { "content-type": "text/javascript; charset=utf-8" }));
  app.get("/docs/docs.css", (c) => c.body(DOCS_STYLE, 200, { "content-type": "text/css; charset=utf-8" }));
}

// Serves a bundled fetch handler on the runtime it is started with: Node's own http server, or Deno's. Run as a process
// by the tests: `<runtime> portable-server.mjs <bundle>`; prints its port and its process id, because a runtime from a
// package is started through a wrapper that does not pass signals on.
import process from "node:process";
import { pathToFileURL } from "node:url";

const { createHandler } = await import(pathToFileURL(process.argv[2]).href);
const handler = await createHandler(process.env);

if (globalThis.Deno !== undefined) {
  globalThis.Deno.serve(
    {
      hostname: "127.0.0.1",
      port: 0,
      onListen: ({ port }) => process.stdout.write(`port ${port} pid ${process.pid}\n`),
    },
    (request, { remoteAddr }) => handler.fetch(request, { address: remoteAddr.hostname }),
  );
} else {
  const { createServer } = await import("node:http");
  const { Readable } = await import("node:stream");
  const server = createServer(async (incoming, outgoing) => {
    const controller = new AbortController();
    outgoing.on("close", () => controller.abort());
    const hasBody = incoming.method !== "GET" && incoming.method !== "HEAD";
    const request = new Request(`http://${incoming.headers.host}${incoming.url}`, {
      method: incoming.method,
      headers: new Headers(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)])),
      signal: controller.signal,
      ...(hasBody ? { body: Readable.toWeb(incoming), duplex: "half" } : {}),
    });
    const response = await handler.fetch(request, { address: incoming.socket.remoteAddress });
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    if (response.body === null) outgoing.end();
    else
      Readable.fromWeb(response.body)
        .on("error", () => {})
        .pipe(outgoing);
  });
  server.listen(0, "127.0.0.1", () => process.stdout.write(`port ${server.address().port} pid ${process.pid}\n`));
}

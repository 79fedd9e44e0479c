// The dns and report applications elsewhere than on Bun: bundled, and served by Node's own http server and by Deno,
// against a real MariaDB.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { openDatabase } from "../../src/store/open.ts";
import { PROJECT_ROOT, temporaryFolder } from "../support/lars-processes.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";

const TOKEN = "portable-test-token-0123";

let mariadb: Mariadb;
let databaseUrl: string;
const bundles: Record<string, string> = {};

beforeAll(async () => {
  mariadb = await sharedMariadb();
  databaseUrl = await mariadb.createDatabase("lars_portable");
  await mariadb.load(join(PROJECT_ROOT, "tests/fixtures/old-lars-database.sql"), "lars_portable");
  const database = await openDatabase(databaseUrl);
  await database.migrate();
  await database.close();
  const outdir = temporaryFolder("bundle");
  for (const name of ["dns", "report"]) {
    const built = await Bun.build({
      entrypoints: [join(PROJECT_ROOT, `src/${name}/fetch-main.ts`)],
      outdir: join(outdir, name),
      target: "node",
      format: "esm",
      naming: "handler.mjs",
    });
    expect(built.success).toBe(true);
    bundles[name] = built.outputs.find(({ kind }) => kind === "entry-point")!.path;
  }
});

interface Served {
  readonly url: string;
  stop(): Promise<void>;
}

async function serve(runtime: readonly string[], name: string): Promise<Served> {
  const child = Bun.spawn([...runtime, join(PROJECT_ROOT, "tests/support/portable-server.mjs"), bundles[name]!], {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: process.env.HOME ?? "",
      LARS_DATABASE_URL: databaseUrl,
      LARS_ADMIN_TOKEN: TOKEN,
      LARS_DNS__AUTH__ANONYMOUS_READ: "true",
      LARS_REPORT__AUTH__ANONYMOUS_READ: "true",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const errors = new Response(child.stderr).text();
  const decoder = new TextDecoder();
  let output = "";
  for await (const chunk of child.stdout) {
    output += decoder.decode(chunk);
    const [, port, pid] = /^port (\d+) pid (\d+)$/m.exec(output) ?? [];
    if (port === undefined) continue;
    return {
      url: `http://127.0.0.1:${port}`,
      async stop() {
        process.kill(Number(pid), "SIGTERM");
        await child.exited;
      },
    };
  }
  throw new Error(`${runtime.join(" ")} did not serve ${name}:\n${output}${await errors}`);
}

const RUNTIMES: readonly (readonly [string, readonly string[]])[] = [
  ["Node", ["node"]],
  [
    "Deno",
    [
      join(PROJECT_ROOT, "node_modules/.bin/deno"),
      "run",
      "--no-config",
      "--allow-net",
      "--allow-env",
      "--allow-sys",
      "--allow-read",
    ],
  ],
];

const servers: Served[] = [];
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});

describe.each(RUNTIMES)("on %s", (runtime, command) => {
  test("the dns application lists, reads, writes, long-polls and streams", async () => {
    const served = await serve(command, "dns");
    servers.push(served);
    const list = (await (await fetch(`${served.url}/v1/routes?limit=1000`)).json()) as { routes: { hosts: number }[] };
    expect(list.routes.length).toBeGreaterThanOrEqual(384);

    const module = `${runtime === "Node" ? 501 : 502}/1`;
    const put = await fetch(`${served.url}/v1/routes/${module}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify({ name: runtime, hosts: [{ ip: "10.0.0.1", port: 80 }] }),
    });
    expect(put.status).toBe(200);
    const { revision } = (await put.json()) as { revision: number };
    const read = await fetch(`${served.url}/v1/routes/${module}?minRevision=${revision}`);
    expect(await read.json()).toMatchObject({ name: runtime, revision, hosts: [{ ip: "10.0.0.1", port: 80 }] });
    expect(
      (await fetch(`${served.url}/v1/routes/${module}`, { headers: { "if-none-match": read.headers.get("etag")! } }))
        .status,
    ).toBe(304);

    // A change by plain SQL wakes a long poll although nobody polls beside.
    const waiting = fetch(`${served.url}/v1/routes/${module}?wait=20s&revision=${revision}`);
    await mariadb.sql(
      "lars_portable",
      `INSERT INTO RouteData(modid, cmdid, serverip, serverport) VALUES (${module.replace("/", ",")}, ${0x0a000002}, 81)`,
      "UPDATE RouteVersion SET version = UNIX_TIMESTAMP() WHERE id = 1",
    );
    const changed = (await (await waiting).json()) as { revision: number; hosts: unknown[] };
    expect(changed.hosts).toHaveLength(2);

    const stream = await fetch(`${served.url}/v1/watch?module=${module.replace("/", ".")}`);
    expect(stream.headers.get("content-type")).toContain("text/event-stream");
    const reader = stream.body!.getReader();
    const first = new TextDecoder().decode((await reader.read()).value);
    expect(first).toContain("event: route");
    expect(first).toContain(`id: ${changed.revision}`);
    await reader.cancel();
    expect((await fetch(`${served.url}/v1/routes/${module}`, { method: "DELETE" })).status).toBe(401);
  });

  test("the report application stores a report before it answers 202, and tells it", async () => {
    const served = await serve(command, "report");
    servers.push(served);
    const modid = runtime === "Node" ? 601 : 602;
    const post = (seq: number, succ: number, token = TOKEN) =>
      fetch(`${served.url}/v1/reports`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
        body: JSON.stringify({
          modid,
          cmdid: 1,
          caller: "10.1.1.1",
          instance: "77",
          seq,
          results: [{ ip: "10.0.0.1", port: 80, succ, err: 1 }],
        }),
      });
    expect((await post(1, 10)).status).toBe(202);
    expect((await post(1, 10)).status).toBe(202);
    expect((await post(2, 15)).status).toBe(202);
    expect((await post(3, 99, "wrong")).status).toBe(401);
    const { status } = (await (await fetch(`${served.url}/v1/status?modid=${modid}`)).json()) as { status: unknown[] };
    expect(status).toMatchObject([{ modid, cmdid: 1, ip: "10.0.0.1", port: 80, caller: "10.1.1.1", succ: 15, err: 1 }]);
    const rows = await mariadb.sql(
      "lars_portable",
      `SELECT succ_cnt, err_cnt FROM ServerCallStatus WHERE modid = ${modid}`,
    );
    expect(rows.map((row) => row.map(Number))).toEqual([[15, 1]]);
  });
});

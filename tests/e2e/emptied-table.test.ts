// The route table emptied by plain SQL: callers notice nothing, operators do.
import { Database } from "bun:sqlite";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";
import { SteadyCaller } from "../support/steady-caller.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const MODULES = Array.from({ length: 8 }, (_, i) => ({ modid: i + 1, cmdid: 1 }));
const [FIRST, ...OTHERS] = MODULES as [(typeof MODULES)[number], ...typeof MODULES];
const HOSTS = [1, 2, 3].map((n) => ({ ip: `10.0.0.${n}`, port: 8000 }));

let lars: Lars;
let caller: SteadyCaller;

async function begin(): Promise<void> {
  lars = await startLars({
    report: 0,
    env: { LARS_DNS__ROUTES__FULL_RELOAD_INTERVAL_S: "1", LARS_AGENT__ROUTES__SNAPSHOT_INTERVAL_MS: "100" },
  });
  const routes = MODULES.map((module) => ({ ...module, hosts: HOSTS }));
  expect((await lars.admin("POST", "/v1/import", { routes })).status).toBe(200);
  caller = await SteadyCaller.open({ port: lars.agent[0]!.ports.udp });
  for (const module of MODULES)
    await eventually(async () => expect(await caller.pick(module)).toMatchObject({ retcode: 0 }));
}

afterEach(async () => {
  caller.close();
  await lars.stop();
});

/** As an old tool. `marked`: it says that it wrote, and is noticed at the next poll. */
function sql(statement: string, { marked = false } = {}): unknown[] {
  const database = new Database(lars.databaseUrl.slice("sqlite:".length));
  try {
    database.run("PRAGMA busy_timeout = 5000");
    const rows = database.query(statement).all();
    if (marked) database.run("UPDATE RouteVersion SET version = version + 1");
    return rows;
  } finally {
    database.close();
  }
}

async function agentSays(module: { modid: number; cmdid: number }): Promise<Record<string, unknown>> {
  const response = await fetch(`${lars.agent[0]!.url}/v1/routes/${module.modid}/${module.cmdid}`);
  return (await response.json()) as Record<string, unknown>;
}

async function keptRoutes(): Promise<number | undefined> {
  return (await lars.agent[0]!.metrics()).get("lars_agent_kept_routes");
}

/** Of the newest change that plain SQL made. */
async function adopted(): Promise<number> {
  const { changes } = (await (await fetch(`${lars.dns[0]!.url}/v1/changes`)).json()) as {
    changes: { revision: number; action: string }[];
  };
  return changes.findLast(({ action }) => action === "adopt")!.revision;
}

test("DELETE FROM RouteData: no pick fails, over a restart of the agent too; undone, the rows are back; confirmed, the hosts go", async () => {
  await begin();
  const [dns, agent] = [lars.dns[0]!, lars.agent[0]!];
  // One module of many is believed to be gone, soon after.
  sql(`DELETE FROM RouteData WHERE modid = ${FIRST.modid}`, { marked: true });
  await eventually(async () => expect(await caller.pick(FIRST)).toMatchObject({ retcode: 3 }));

  const stop = caller.steadily(OTHERS, 200);
  sql("DELETE FROM RouteData");
  await eventually(async () => expect(await keptRoutes()).toBe(OTHERS.length));
  const truth = (await (await fetch(`${dns.url}/v1/routes?limit=100`)).json()) as { routes: unknown[] };
  expect(truth.routes).toEqual([]);
  expect((await dns.metrics()).get("lars_dns_vanished_routes")).toBe(OTHERS.length);
  const revision = await adopted();
  expect(dns.output).toContain(`POST /v1/changes/${revision}/revert`);
  await eventually(() => expect(agent.output).toContain("they are kept and picked on"));
  expect(await agentSays(OTHERS[0]!)).toMatchObject({ kept: { hostsTold: 0 }, hosts: HOSTS });
  await stop();
  expect(caller.failures).toBe(0);
  expect(caller.retcodes.get(0)).toBeGreaterThan(0);

  // Started anew it has what its snapshot kept, and believes no more than before.
  await agent.kill();
  await agent.start();
  await eventually(async () => expect(await keptRoutes()).toBe(OTHERS.length));
  for (const module of OTHERS) expect(await caller.pick(module)).toMatchObject({ retcode: 0 });

  expect((await lars.admin("POST", `/v1/changes/${revision}/revert`)).status).toBe(200);
  expect(sql("SELECT * FROM RouteData")).toHaveLength(OTHERS.length * HOSTS.length);
  await eventually(async () => expect(await keptRoutes()).toBe(0));
  expect(await agentSays(OTHERS[0]!)).not.toHaveProperty("kept");

  sql("DELETE FROM RouteData", { marked: true });
  await eventually(async () => expect(await keptRoutes()).toBe(OTHERS.length));
  expect((await lars.admin("POST", `/v1/changes/${await adopted()}/confirm`)).status).toBe(200);
  await eventually(async () => expect(await caller.pick(OTHERS[0]!)).toMatchObject({ retcode: 3 }));
  await eventually(async () => expect(await keptRoutes()).toBe(0));
});

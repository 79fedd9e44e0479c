// Registrations of real processes, over HTTP, in an SQLite file: registered, renewed, drained, run out.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, startLars } from "../support/lars-processes.ts";
import { LeaseKeeper } from "../support/lease-keeper.ts";

let lars: Lars;
beforeAll(async () => {
  lars = await startLars({ report: 0 });
});
afterAll(() => lars.stop());

const service = (n: number) => ({ modid: 1, cmdid: 1, ip: `10.0.0.${n}`, port: 8000 });

async function hosts(): Promise<string[]> {
  const route = (await (await lars.admin("GET", "/v1/routes/1/1")).json()) as {
    hosts?: { ip: string; state: string }[];
  };
  return (route.hosts ?? []).map(({ ip, state }) => `${ip.split(".")[3]} ${state}`);
}

async function picked(): Promise<string> {
  const response = await fetch(`${lars.agent[0]!.url}/v1/hosts/1/1`);
  return response.ok ? ((await response.json()) as { ip: string }).ip : `${response.status}`;
}

test("a service is picked while it renews and is gone ttl + 2 s after it stopped; one that drains is not up; each of it is a change of its own", async () => {
  const keeper = new LeaseKeeper({ urls: () => [lars.dns[0]!.url], token: ADMIN_TOKEN, ttlSeconds: 1 });
  await keeper.add("goes-on", service(1));
  const silent = await keeper.add("falls-silent", service(2));
  expect(await hosts()).toEqual(["1 up", "2 up"]);
  await eventually(async () => expect(["10.0.0.1", "10.0.0.2"]).toContain(await picked()));
  await eventually(() => expect(silent.beats).toBeGreaterThan(2));
  silent.silent = true;
  await eventually(async () => expect(await hosts()).toEqual(["1 up"]), { timeoutMs: 5_000 });
  const tookMs = performance.now() - silent.heardAtMs;
  expect(tookMs).toBeGreaterThan(950);
  expect(tookMs).toBeLessThan(3_000);
  await eventually(async () => expect(await picked()).toBe("10.0.0.1"));

  expect(keeper.services.get("goes-on")!.lost).toBe(0);
  await keeper.stop();

  const long = { ...service(3), ttlSeconds: 60 };
  expect((await lars.admin("PUT", "/v1/registrations/drains", long)).status).toBe(200);
  expect((await lars.admin("PUT", "/v1/registrations/drains", { ...long, state: "draining" })).status).toBe(200);
  await eventually(async () => expect(await hosts()).toEqual(["3 draining"]), { timeoutMs: 5_000 });
  expect((await lars.admin("DELETE", "/v1/registrations/drains")).status).toBe(200);
  expect(await hosts()).toEqual([]);
  const { changes } = (await (await lars.admin("GET", "/v1/changes")).json()) as {
    changes: { action: string; who: string }[];
  };
  const actions = changes.map(({ action, who }) => `${action} ${who}`);
  expect(actions.slice(0, 3)).toEqual(["register admin", "register admin", "expire system"]);
  expect(actions.slice(3, 6).sort()).toEqual(["expire system", "register admin", "register admin"]);
  expect(actions.slice(6)).toEqual(["deregister admin"]);
}, 30_000);

// Leases of two dns instances on a real MariaDB: renewed anywhere, ended by whoever is left, and by nobody while nothing
// serves.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, type LarsProcess, makeLars } from "../support/lars-processes.ts";
import { LeaseKeeper } from "../support/lease-keeper.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";

const TTL_SECONDS = 2;
const SCENES = 4;

/** Two instances on a database server of their own, because some tests end the server. */
class Scene {
  constructor(
    readonly mariadb: Mariadb,
    readonly lars: Lars,
    readonly keeper: LeaseKeeper,
  ) {}

  /** Ids that are registered, as the database has them. */
  async registered(dns: LarsProcess): Promise<string[]> {
    const response = await this.lars.admin("GET", "/v1/registrations?limit=10000", undefined, dns);
    return ((await response.json()) as { registrations: { id: string }[] }).registrations.map(({ id }) => id);
  }

  async owner(): Promise<LarsProcess> {
    for (const dns of this.lars.dns) {
      if (dns.isRunning && (await dns.metrics()).get("lars_dns_lease_clock_owner") === 1) return dns;
    }
    throw new Error("nobody owns the lease clock");
  }

  lost(): string[] {
    return [...this.keeper.services.values()].filter((kept) => kept.lost > 0).map(({ id }) => id);
  }
}

const scenes: Scene[] = [];
let begun = 0;

// All at once, since most of what these tests do is to wait; and before the first of them, so that none waits for another
// one's start.
beforeAll(async () => {
  await Promise.all(
    Array.from({ length: SCENES }, async () => {
      const mariadb = await startMariadb({ inMemory: true });
      const databaseUrl = await mariadb.createDatabase("lars_leases");
      const lars = await makeLars({ databaseUrl, dns: 2, report: 0, agent: 0 });
      for (const dns of lars.dns) await dns.start();
      const urls = () => lars.dns.map(({ url }) => url);
      scenes.push(new Scene(mariadb, lars, new LeaseKeeper({ urls, token: ADMIN_TOKEN, ttlSeconds: TTL_SECONDS })));
    }),
  );
}, 120_000);
afterAll(async () => {
  for (const { keeper, lars, mariadb } of scenes) {
    await keeper.stop();
    await lars.stop();
    await mariadb.remove();
  }
}, 60_000);

const service = (n: number) => ({ modid: 1 + (n % 7), cmdid: 1, ip: `10.0.${n >> 8}.${n & 255}`, port: 8000 });

async function hostCount(dns: LarsProcess): Promise<number> {
  await fetch(`${dns.url}/v1/routes?limit=1`);
  return (await dns.metrics()).get("lars_dns_hosts") ?? -1;
}

test.concurrent("registered on one, renewed at once on the other; the clock's owner killed: exactly who fell silent ends, within ttl + 2 s", async () => {
  const scene = scenes[begun++]!;
  const { lars, keeper } = scene;
  const [a, b] = lars.dns as [LarsProcess, LarsProcess];
  // The keeper's first heartbeat goes to the instance that it did not register with, and must be a 200.
  await Promise.all(Array.from({ length: 60 }, (_, n) => keeper.add(`s${n}`, service(n), n % 2)));
  expect(scene.lost()).toEqual([]);
  await eventually(async () => expect([await hostCount(a), await hostCount(b)]).toEqual([60, 60]));
  await eventually(() =>
    expect(Math.min(...[...keeper.services.values()].map(({ beats }) => beats))).toBeGreaterThan(2),
  );
  const silent = [...keeper.services.values()].filter((_, n) => n % 3 === 0);
  const killed = await eventually(() => scene.owner());
  const survivor = killed === a ? b : a;
  for (const kept of silent) kept.silent = true;
  await killed.kill();
  const lastHeardAtMs = Math.max(...silent.map(({ heardAtMs }) => heardAtMs));
  await eventually(async () => expect(await scene.registered(survivor)).toHaveLength(40), { timeoutMs: 15_000 });
  const tookMs = performance.now() - lastHeardAtMs;
  process.stdout.write(
    `  the last silent lease ended ${Math.round(tookMs)} ms after it was heard, ttl ${TTL_SECONDS} s\n`,
  );
  expect(tookMs).toBeLessThan((TTL_SECONDS + 2) * 1000 + 500);
  const ids = new Set(silent.map(({ id }) => id));
  expect((await scene.registered(survivor)).filter((id) => ids.has(id))).toEqual([]);
  expect(await hostCount(survivor)).toBe(40);
  const beats = [...keeper.services.values()].filter(({ silent: quiet }) => !quiet).map(({ beats }) => beats);
  await eventually(
    () => {
      const now = [...keeper.services.values()].filter(({ silent: quiet }) => !quiet);
      expect(now.every((kept, i) => kept.beats > beats[i]! + 8)).toBe(true);
    },
    { timeoutMs: 10_000 },
  );
  expect(scene.lost()).toEqual([]);
  expect(await scene.registered(survivor)).toHaveLength(40);
}, 60_000);

test.concurrent("everything stopped for longer than the ttl, the database too: nobody who goes on renewing is lost, and who does not ends", async () => {
  const scene = scenes[begun++]!;
  const { mariadb, lars, keeper } = scene;
  await Promise.all(Array.from({ length: 20 }, (_, n) => keeper.add(`s${n}`, service(n), n % 2)));
  await eventually(() =>
    expect(Math.min(...[...keeper.services.values()].map(({ beats }) => beats))).toBeGreaterThan(2),
  );
  const downAtMs = performance.now();
  await Promise.all(lars.dns.map((dns) => dns.kill()));
  await mariadb.kill();
  keeper.services.get("s0")!.silent = true;
  await eventually(() => expect(performance.now() - downAtMs).toBeGreaterThan((TTL_SECONDS + 1) * 1000), {
    timeoutMs: 10_000,
  });
  await mariadb.start();
  await Promise.all(lars.dns.map((dns) => dns.start()));
  const upAtMs = performance.now();
  await eventually(async () => expect(await scene.registered(lars.dns[0]!)).toHaveLength(19), { timeoutMs: 15_000 });
  expect(performance.now() - upAtMs).toBeLessThan((TTL_SECONDS + 2) * 1000);
  const beats = keeper.services.get("s1")!.beats;
  await eventually(() => expect(keeper.services.get("s1")!.beats).toBeGreaterThan(beats + 4), { timeoutMs: 10_000 });
  expect(scene.lost()).toEqual([]);
  expect(await scene.registered(lars.dns[1]!)).toHaveLength(19);
}, 90_000);

test.concurrent("the database away for longer than the ttl: heartbeats are refused, none is lost, and the clock stood", async () => {
  const scene = scenes[begun++]!;
  const { mariadb, lars, keeper } = scene;
  await Promise.all(Array.from({ length: 20 }, (_, n) => keeper.add(`s${n}`, service(n), n % 2)));
  await eventually(() =>
    expect(Math.min(...[...keeper.services.values()].map(({ beats }) => beats))).toBeGreaterThan(2),
  );
  const clock = async () =>
    Math.max(
      ...(await Promise.all(lars.dns.map(async (dns) => (await dns.metrics()).get("lars_dns_lease_clock_ms") ?? 0))),
    );
  await mariadb.kill();
  const [stood, awayAtMs] = [await clock(), performance.now()];
  await eventually(async () => expect((await lars.admin("PUT", "/v1/registrations/s1/heartbeat")).status).toBe(503));
  await eventually(() => expect(performance.now() - awayAtMs).toBeGreaterThan((TTL_SECONDS + 1) * 1000), {
    timeoutMs: 10_000,
  });
  expect((await clock()) - stood).toBeLessThan(300);
  await mariadb.start();
  const beats = keeper.services.get("s1")!.beats;
  await eventually(() => expect(keeper.services.get("s1")!.beats).toBeGreaterThan(beats + 6), { timeoutMs: 15_000 });
  expect(scene.lost()).toEqual([]);
  expect(await scene.registered(lars.dns[0]!)).toHaveLength(20);
}, 60_000);

test.concurrent("an instance stopped for 4 s while it owns the clock, and woken: nobody is lost who asks the other after half a second", async () => {
  const scene = scenes[begun++]!;
  const { lars, keeper } = scene;
  await Promise.all(Array.from({ length: 20 }, (_, n) => keeper.add(`s${n}`, service(n), n % 2)));
  const stopped = await eventually(() => scene.owner());
  stopped.signal("SIGSTOP");
  const other = lars.dns.find((dns) => dns !== stopped)!;
  await eventually(async () => expect((await other.metrics()).get("lars_dns_lease_clock_owner")).toBe(1));
  const stoppedAtMs = performance.now();
  await eventually(() => expect(performance.now() - stoppedAtMs).toBeGreaterThan(4_000), { timeoutMs: 15_000 });
  stopped.signal("SIGCONT");
  await eventually(async () => expect((await stopped.metrics()).get("lars_dns_lease_clock_owner")).toBe(0));
  const beats = keeper.services.get("s1")!.beats;
  await eventually(() => expect(keeper.services.get("s1")!.beats).toBeGreaterThan(beats + 6), { timeoutMs: 15_000 });
  expect(scene.lost()).toEqual([]);
  expect(await scene.registered(other)).toHaveLength(20);
  expect(await hostCount(other)).toBe(20);
}, 60_000);

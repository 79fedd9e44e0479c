// Thousands of leases renewed over two dns instances on one MariaDB. A third of the services fall silent at one instant, and
// one dns is killed: exactly the silent ones are to leave their routes, each in time.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ADMIN_TOKEN, type Lars, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { readExpiries } from "./expiries.ts";
import { FULL_LENGTH, goesOn, keepRow } from "./fault-table.ts";
import { type Holder, LeaseHolders } from "./lease-holders.ts";

const COUNT = FULL_LENGTH ? 10_000 : 1000;
const TTL_SECONDS = FULL_LENGTH ? 15 : 3;
/** Beyond its time to live, from the heartbeat that was acknowledged last. */
const MAX_LATE_SECONDS = 2;

let mariadb: Mariadb;
let lars: Lars;

beforeAll(async () => {
  mariadb = await startMariadb();
  lars = await startLars({ databaseUrl: await mariadb.createDatabase("lars_leases"), dns: 2, agent: 0, report: 0 });
}, 60_000);

afterAll(async () => {
  await lars?.stop();
  await mariadb?.remove();
}, 60_000);

/** Follows the change log and notes when each host left by expiry. */
class ExpiryWatch {
  readonly seenMs = new Map<string, number>();
  #after = 0;

  constructor(private readonly dns: string) {}

  async look(): Promise<void> {
    const { revision, expired } = await readExpiries(this.dns, this.#after);
    this.#after = revision;
    for (const endpoint of expired) this.seenMs.set(endpoint, performance.now());
  }
}

async function hostsInRoutes(dns: string): Promise<Set<string>> {
  const response = await fetch(`${dns}/v1/export`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
  const { routes } = (await response.json()) as { routes: { hosts: { ip: string; port: number }[] }[] };
  return new Set(routes.flatMap(({ hosts }) => hosts.map(({ ip, port }) => `${ip}:${port}`)));
}

test(`${COUNT} leases, a third silent, one of two dns killed: exactly those expire, each within TTL + ${MAX_LATE_SECONDS} s`, async () => {
  const holders = new LeaseHolders({
    dns: lars.dns.map(({ url }) => url),
    count: COUNT,
    ttlSeconds: TTL_SECONDS,
    modules: 50,
  });
  const [victim, survivor] = lars.dns;
  const registeredAtMs = performance.now();
  holders.start();
  try {
    await holders.register();
    const registerS = (performance.now() - registeredAtMs) / 1000;
    // Everybody renews for a while and nobody expires.
    const watch = new ExpiryWatch(survivor!.url);
    await watch.look();
    await goesOn((TTL_SECONDS * 1000) / 2);
    await watch.look();
    expect(watch.seenMs.size).toBe(0);

    const silent = holders.holders.filter((_, i) => i % 3 === 0);
    for (const holder of silent) holder.silent = true;
    const silentAtMs = performance.now();
    await goesOn((TTL_SECONDS * 1000) / 3);
    await victim!.kill();
    const deadlineMs = silentAtMs + (TTL_SECONDS + 2 * MAX_LATE_SECONDS) * 1000;
    while (performance.now() < deadlineMs) {
      await watch.look();
      await goesOn(25);
    }
    await watch.look();
    await holders.stop();

    const late = (holder: Holder): number => {
      const seen = watch.seenMs.get(`${holder.ip}:${holder.port}`);
      return seen === undefined ? Number.POSITIVE_INFINITY : (seen - holder.acknowledgedMs) / 1000 - TTL_SECONDS;
    };
    const lates = silent.map(late).sort((a, b) => a - b);
    const expiredWrongly = [...watch.seenMs.keys()].filter((endpoint) => holders.of(endpoint)?.silent !== true);
    const inRoutes = await hostsInRoutes(survivor!.url);
    const round = (seconds: number): number => Math.round(seconds * 100) / 100;
    keepRow("leases", {
      leases: COUNT,
      "time to live, s": TTL_SECONDS,
      "registered in, s": round(registerS),
      "heartbeats acknowledged": holders.heartbeats,
      "tried again elsewhere": [...holders.failures.values()].reduce((sum, count) => sum + count, 0),
      silent: silent.length,
      expired: watch.seenMs.size,
      "of those kept": expiredWrongly.length,
      "after the time to live, s: least": round(lates[0]!),
      median: round(lates[Math.floor(lates.length / 2)]!),
      most: round(lates.at(-1)!),
    });
    expect(expiredWrongly).toEqual([]);
    expect(holders.wronglyEnded).toEqual([]);
    expect(watch.seenMs.size).toBe(silent.length);
    expect(lates.at(-1)!).toBeLessThan(MAX_LATE_SECONDS);
    // Never before its time, counted from when the heartbeat was sent.
    for (const holder of silent) {
      const seenMs = watch.seenMs.get(`${holder.ip}:${holder.port}`)!;
      expect((seenMs - holder.sentMs) / 1000).toBeGreaterThan(TTL_SECONDS);
    }
    expect(inRoutes).toEqual(
      new Set(holders.holders.filter((holder) => !holder.silent).map(({ ip, port }) => `${ip}:${port}`)),
    );
  } finally {
    await holders.stop();
  }
}, 180_000);

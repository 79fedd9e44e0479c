// One fault under a steady load, from a quiet start to a quiet end: callers pick and report, a script changes routes,
// the fault is made and ended, and when a change made after that is served again, the load stops and the books are
// compared: what was acknowledged with the change log, what was reported with what the database holds.
import { expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { type Lars, type LarsProcess, sumMetric } from "../support/lars-processes.ts";
import { AgentServices } from "./agent-services.ts";
import { Callers } from "./callers.ts";
import { readExpiries } from "./expiries.ts";
import { type FaultRow, goesOn } from "./fault-table.ts";
import { type LoggedChange, lostWrites, type Sighting, violations, type WriteRecord } from "./history.ts";
import { LeaseHolders, triesOf } from "./lease-holders.ts";
import { pickMarks, pickStory } from "./pick-story.ts";
import { readJson } from "./read-json.ts";
import { BASE_HOSTS, RouteWriter, readChangeLog } from "./route-writer.ts";

export interface Fault {
  readonly name: string;
  /** How long it lasts. */
  readonly holdMs: number;
  readonly begin: () => void | Promise<void>;
  /** What ends it. The time to heal counts from before this is called. */
  readonly end: () => void | Promise<void>;
  /** The agent does not run or reaches no dns while it lasts: what registered at it may end, and comes back. */
  readonly agentAlone?: boolean;
  /** The agent is killed: calls counted since its last flush are lost, and it begins again with the routes of its snapshot. */
  readonly restartsAgent?: boolean;
}

export interface SceneOptions {
  readonly picksPerSecond?: number;
  readonly writesPerSecond?: number;
  /** What the callers run under, to be in the agent's network. */
  readonly callersCommand?: readonly string[];
}

/** Short, so that a lease which is not renewed for as long as a fault lasts would end; a dns that is cut off says so after 2 s. */
export const LEASES = { count: 60, ttlSeconds: 4, modules: 3 };

export const MODULES: readonly string[] = Array.from(
  { length: 12 },
  (_, i) => `${1 + (i % 4)}.${1 + Math.floor(i / 4)}`,
);
/** Of those the script changes these. */
const WRITTEN = MODULES.slice(0, 6);

export class FaultScene {
  readonly #revisions = new Map<number, number>();
  readonly #leases: LeaseHolders;
  readonly #services: AgentServices;
  /** Of faults before: a write without an answer may still happen, once, when the dns that has it reaches the database. */
  readonly #unanswered: WriteRecord[] = [];
  #nextId = 1;

  constructor(
    readonly lars: Lars,
    private readonly options: SceneOptions = {},
  ) {
    this.#leases = new LeaseHolders({ ...LEASES, dns: lars.dns.map(({ url }) => url) });
    this.#services = new AgentServices(lars.agent[0]!, LEASES.ttlSeconds, options.callersCommand);
  }

  /** Ends what runs between faults, then the processes. */
  async stop(): Promise<void> {
    await this.#leases.stop();
    await this.#services.stop();
    await this.lars.stop();
  }

  /** Routes for all modules, known to the agent; services that registered and keep renewing from now on. */
  async prepare(): Promise<void> {
    const routes = MODULES.map((module) => {
      const [modid, cmdid] = module.split(".").map(Number);
      return { modid, cmdid, hosts: BASE_HOSTS };
    });
    expect((await this.lars.admin("POST", "/v1/import", { routes })).status).toBe(200);
    const [agent] = this.lars.agent;
    for (const { modid, cmdid } of routes) {
      const picked = async () => expect((await agent!.fetch(`/v1/hosts/${modid}/${cmdid}`)).status).toBe(200);
      await eventually(picked, { timeoutMs: 20_000 });
    }
    await this.#leases.register();
    this.#leases.start();
    await this.#services.registered(this.lars.dns[0]!);
  }

  /** The dns instance that the agent is connected to. */
  async usedDns(): Promise<LarsProcess> {
    return await used(this.lars.dns, "lars_dns_agents");
  }

  async usedReport(): Promise<LarsProcess> {
    return await used(this.lars.report, "lars_report_agents");
  }

  async run(fault: Fault): Promise<FaultRow> {
    const { picksPerSecond = 800, writesPerSecond = 20 } = this.options;
    const [agent] = this.lars.agent;
    // The row before may have failed in the middle.
    await Promise.all(this.lars.all.map((process) => process.ready(60_000)));
    const before = await this.#stored();
    const startRevision = await headRevision(this.lars.dns[0]!);
    const writer = new RouteWriter({
      dns: this.lars.dns.map(({ url }) => url),
      modules: WRITTEN,
      perSecond: writesPerSecond,
      nextId: () => this.#nextId++,
    });
    const callers = new Callers(
      { port: agent!.ports.udp, modules: MODULES, watched: WRITTEN, perSecond: picksPerSecond },
      this.options.callersCommand,
    );
    try {
      await callers.begin();
      writer.start();
      // Quiet: a write of each module is served.
      await eventually(
        () => {
          expect(callers.answered).toBeGreaterThan(picksPerSecond / 2);
          expect(new Set(callers.shown.map(({ module }) => module)).size).toBe(WRITTEN.length);
          expect(callers.failed).toBe(0);
        },
        { timeoutMs: 30_000 },
      );
      const marks = await pickMarks(agent!);
      const beganAtMs = performance.now();
      await fault.begin();
      await goesOn(fault.holdMs);
      const endedAtMs = performance.now();
      await fault.end();
      const healedAtMs = await this.#healed(writer, callers, endedAtMs);
      await Promise.all(this.lars.all.map((process) => process.ready(60_000)));
      await this.#services.back(this.lars.dns[0]!, performance.now());
      await writer.stop();
      const log = await this.#settled(writer, callers, startRevision);
      const summary = await callers.end();
      const leasesKept = await this.#leasesKept(startRevision, beganAtMs);
      if (!fault.agentAlone) await this.#services.judge(this.lars.dns[0]!, startRevision);
      const sightings = this.#sightings(callers);
      const wrong = violations({
        writes: [...this.#unanswered, ...writer.writes],
        log,
        watchers: fault.restartsAgent
          ? [{ name: "agent, once it serves again", sightings: after(sightings, endedAtMs) }]
          : [{ name: "agent", sightings }],
      });
      this.#unanswered.push(...writer.writes.filter(({ outcome }) => outcome.kind === "unknown"));
      expect(wrong).toEqual([]);
      if (summary.failed > 0) {
        const { firstFailureMs = 0, lastFailureMs = 0 } = summary;
        const [first, last] = [firstFailureMs, lastFailureMs].map((ms) => ms - performance.timeOrigin - beganAtMs);
        process.stdout.write(
          `  picks failed from ${first} to ${last} ms after the fault began: ${pickStory(marks, await pickMarks(agent!), summary)}\n`,
        );
      }
      const reported = Object.values(summary.calls).reduce((sum, count) => sum + count, 0);
      const stored = await this.#storedSince(before, summary.calls, fault.restartsAgent === true);
      const acknowledged = writer.writes.filter(({ outcome }) => outcome.kind === "acknowledged");
      return {
        fault: fault.name,
        holdS: fault.holdMs / 1000,
        picks: summary.picks,
        failed: summary.failed,
        acknowledged: acknowledged.length,
        unanswered: writer.writes.length - acknowledged.length,
        lost: lostWrites({ writes: writer.writes, log }).length,
        pauseS: longestPause(acknowledged, beganAtMs, healedAtMs) / 1000,
        staleS: this.#stalest(acknowledged, callers) / 1000,
        healS: (healedAtMs - endedAtMs) / 1000,
        reported,
        stored,
        leasesKept,
      };
    } finally {
      await writer.stop();
      callers.kill();
    }
  }

  /** When a change made after the fault's end was served by the agent. */
  async #healed(writer: RouteWriter, callers: Callers, endedAtMs: number): Promise<number> {
    return await eventually(
      () => {
        for (const { id, startedMs, outcome } of writer.writes) {
          if (startedMs < endedAtMs || outcome.kind !== "acknowledged") continue;
          const shown = callers.shown.find(({ writes }) => writes.includes(id));
          if (shown !== undefined) return shown.atMs;
        }
        const last = JSON.stringify(writer.writes.at(-1));
        const ended = this.lars.all
          .filter(({ isRunning }) => !isRunning)
          .map(({ name, output }) => `${name}: ${output}`);
        throw new Error(
          `no change made after the fault is served; the last write: ${last} ${ended.join("\n").slice(-3000)}`,
        );
      },
      { timeoutMs: 60_000 },
    );
  }

  /** The change log, once the agent serves the end of it. */
  async #settled(writer: RouteWriter, callers: Callers, startRevision: number): Promise<readonly LoggedChange[]> {
    const newest = Math.max(
      ...writer.writes.map(({ outcome }) => (outcome.kind === "acknowledged" ? outcome.revision : 0)),
    );
    return await eventually(
      async () => {
        const [dns] = this.lars.dns;
        const head = await headRevision(dns!, newest);
        const log = await readChangeLog(dns!.url, startRevision);
        for (const { revision, writes } of log) for (const { id } of writes) this.#revisions.set(id, revision);
        const last = new Map(log.flatMap(({ revision, writes }) => writes.map(({ module }) => [module, revision])));
        const seen = new Map(this.#sightings(callers).map(({ module, revision }) => [module, revision]));
        for (const [module, revision] of last) {
          if (seen.get(module as string) !== revision)
            throw new Error(
              `the agent serves ${module} at ${seen.get(module as string)}; it is at ${revision} of ${head}`,
            );
        }
        return log;
      },
      { timeoutMs: 30_000, intervalMs: 100 },
    );
  }

  /** How many of the leases that are renewed all the time were never given up since. */
  async #leasesKept(startRevision: number, beganAtMs: number): Promise<number> {
    const [dns] = this.lars.dns;
    const { revision, expired } = await readExpiries(dns!.url, startRevision);
    const { routes } = await read<{ routes: { hosts: { ip: string; port: number }[] }[] }>(
      dns!,
      `/v1/export?minRevision=${revision}`,
    );
    const there = new Set(routes.flatMap(({ hosts }) => hosts.map(({ ip, port }) => `${ip}:${port}`)));
    const gone = new Set(expired);
    const ended = new Set(this.#leases.wronglyEnded.splice(0));
    const kept = new Set(
      this.#leases.holders.filter(({ id, ip, port }) => {
        const endpoint = `${ip}:${port}`;
        return there.has(endpoint) && !gone.has(endpoint) && !ended.has(id);
      }),
    );
    for (const holder of this.#leases.holders) {
      if (!kept.has(holder))
        process.stdout.write(`  lost its lease: ${holder.id}, which asked ${triesOf(holder, beganAtMs)}\n`);
    }
    return kept.size;
  }

  #revisionShown(writes: readonly number[]): number {
    return Math.max(0, ...writes.map((id) => this.#revisions.get(id) ?? 0));
  }

  #sightings(callers: Callers): (Sighting & { readonly atMs: number })[] {
    return callers.shown.flatMap(({ module, writes, atMs }) => {
      const revision = this.#revisionShown(writes);
      return revision === 0 ? [] : [{ module, revision, atMs }];
    });
  }

  /** The longest time for which an acknowledged write was not served, in milliseconds. */
  #stalest(writes: readonly WriteRecord[], callers: Callers): number {
    const sightings = this.#sightings(callers);
    let stalest = 0;
    for (const { module, endedMs, outcome } of writes) {
      if (outcome.kind !== "acknowledged") continue;
      const seen = sightings.find((sighting) => sighting.module === module && sighting.revision >= outcome.revision);
      if (seen === undefined) throw new Error(`the agent never served ${module} at ${outcome.revision}`);
      stalest = Math.max(stalest, seen.atMs - endedMs);
    }
    return stalest;
  }

  /** "modid.cmdid ip:port" -> calls, as the report service tells them. */
  async #stored(): Promise<Map<string, number>> {
    const calls = new Map<string, number>();
    let next = "";
    do {
      const page: {
        status: { modid: number; cmdid: number; ip: string; port: number; succ: number; err: number }[];
        next?: string;
      } = await read(this.lars.report[0]!, `/v1/status?limit=1000${next}`);
      for (const { modid, cmdid, ip, port, succ, err } of page.status) {
        const key = `${modid}.${cmdid} ${ip}:${port}`;
        calls.set(key, (calls.get(key) ?? 0) + succ + err);
      }
      next = page.next === undefined ? "" : `&after=${page.next}`;
    } while (next !== "");
    return calls;
  }

  /** Calls that came to be stored since; exactly those reported, unless the agent itself was killed. */
  async #storedSince(
    before: ReadonlyMap<string, number>,
    reported: Readonly<Record<string, number>>,
    mayMiss: boolean,
  ): Promise<number> {
    let last = -1;
    return await eventually(
      async () => {
        const stored = await this.#stored();
        const since = Object.fromEntries(
          [...stored].flatMap(([key, calls]) => {
            const more = calls - (before.get(key) ?? 0);
            return more === 0 ? [] : [[key, more] as const];
          }),
        );
        const sum = Object.values(since).reduce((total, calls) => total + calls, 0);
        if (mayMiss) {
          for (const [key, calls] of Object.entries(since)) expect(calls).toBeLessThanOrEqual(reported[key] ?? 0);
          const settled = sum === last;
          last = sum;
          if (!settled) throw new Error("calls are still being stored");
        } else expect(since).toEqual({ ...reported });
        return sum;
      },
      { timeoutMs: 30_000, intervalMs: mayMiss ? 1200 : 100 },
    );
  }
}

function after<T extends { readonly atMs: number }>(sightings: readonly T[], atMs: number): readonly T[] {
  return sightings.filter((sighting) => sighting.atMs >= atMs);
}

async function used(processes: readonly LarsProcess[], gauge: string): Promise<LarsProcess> {
  return await eventually(async () => {
    for (const process of processes) if (sumMetric(await process.metrics(), gauge) > 0) return process;
    throw new Error(`the agent is connected to none of ${processes.map(({ url }) => url).join(", ")}`);
  });
}

function read<T>(process: LarsProcess, path: string): Promise<T> {
  return readJson<T>(process.url, path);
}

async function headRevision(dns: LarsProcess, minRevision = 0): Promise<number> {
  return (await read<{ revision: number }>(dns, `/v1/routes?limit=1&minRevision=${minRevision}`)).revision;
}

/** The longest time without an acknowledged write between two instants. */
function longestPause(acknowledged: readonly WriteRecord[], fromMs: number, toMs: number): number {
  const ends = acknowledged.map(({ endedMs }) => endedMs).filter((ms) => ms > fromMs && ms < toMs);
  let pause = 0;
  let lastMs = fromMs;
  for (const ms of [...ends, toMs]) {
    pause = Math.max(pause, ms - lastMs);
    lastMs = ms;
  }
  return pause;
}

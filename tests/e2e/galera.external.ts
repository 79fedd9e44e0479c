// Two dns services on a Galera cluster whose nodes go away in every manner, under writers at both: nothing acknowledged
// is lost or made twice, no revision is ever served that is older than one before, and all heals by itself. By default
// the manners that tests/faults leaves out; LARS_GALERA_ALL=1 runs every one and so makes the table of docs/scaling.md.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { type Galera, type GaleraNode, startGalera } from "../support/galera.ts";
import { type Lars, type LarsProcess, startLars } from "../support/lars-processes.ts";

const ALL = process.env.LARS_GALERA_ALL === "1";
const DATABASE = "lars_e2e";
const WRITERS = 8;
const MODULES = 200;

let galera: Galera;
let lars: Lars;

beforeAll(async () => {
  galera = await startGalera(
    process.env.LARS_GALERA_OPTIONS === undefined ? {} : { providerOptions: process.env.LARS_GALERA_OPTIONS },
  );
  const databaseUrl = await galera.createDatabase(DATABASE);
  lars = await startLars({ databaseUrl, dns: 2, report: 0, agent: 0 });
}, 120_000);

afterAll(async () => {
  await lars?.stop();
  await galera?.remove();
}, 60_000);

/** Over all tests: a host is added once. */
let nextHost = 0;

interface Acknowledged {
  readonly ip: string;
  readonly revision: number;
}

/** Adds hosts one after another at both services, each until it is acknowledged or found there. */
class Writers {
  readonly acknowledged: Acknowledged[] = [];
  /** Refused first and found made afterwards: the commit's answer was lost beyond what could be found out. */
  foundMade = 0;
  refusals = 0;
  #stopped = false;
  readonly #running: Promise<void>[];

  constructor() {
    this.#running = Array.from({ length: WRITERS }, (_, i) => this.#write(lars.dns[i % lars.dns.length]!));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #write(dns: LarsProcess): Promise<void> {
    while (!this.#stopped) {
      const n = nextHost++;
      const ip = `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
      const add = async () => {
        const answer = await lars.admin("POST", `/v1/routes/1/${n % MODULES}/hosts`, { ip, port: 80 }, dns);
        if (answer.status === 503) {
          this.refusals++;
          await answer.text();
          throw new Error("refused");
        }
        if (answer.status === 409) this.foundMade++;
        else {
          expect(answer.status).toBe(201);
          const { revision } = (await answer.json()) as { revision: number };
          this.acknowledged.push({ ip, revision });
        }
      };
      await eventually(add, { timeoutMs: 60_000, intervalMs: 50 });
    }
  }
}

/** What each service says its revision is, all the time; it may never go back. */
class RevisionWatch {
  looks = 0;
  steps: string[] = [];
  #stopped = false;
  readonly #running: Promise<void>[];

  constructor() {
    this.#running = lars.dns.map((dns) => this.#watch(dns));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #watch(dns: LarsProcess): Promise<void> {
    let highest = 0;
    const look = async () => {
      const answer = await fetch(`${dns.url}/v1/routes?limit=1`);
      const { revision } = (await answer.json()) as { revision: number };
      if (revision < highest) this.steps.push(`${highest} -> ${revision}`);
      highest = Math.max(highest, revision);
      this.looks++;
      if (!this.#stopped) throw new Error("still watching");
    };
    await eventually(look, { timeoutMs: 300_000, intervalMs: 5 });
  }
}

async function writingNode(): Promise<GaleraNode> {
  return eventually(
    async () => {
      const counts = await Promise.all(
        galera.nodes.map(async (node) => {
          const sql = `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '${DATABASE}'`;
          return Number((await node.sql(undefined, sql))[0]![0]);
        }),
      );
      const used = galera.nodes.filter((_, i) => counts[i]! > 0);
      if (used.length !== 1) throw new Error(`connections to the nodes: ${counts.join(" ")}`);
      return used[0]!;
    },
    { timeoutMs: 30_000 },
  );
}

interface Manner {
  readonly what: string;
  readonly always?: true;
  begin(writing: GaleraNode, others: readonly GaleraNode[]): Promise<void>;
  /** Writes cannot succeed until `heal`. */
  readonly noQuorum?: true;
}

const MANNERS: readonly Manner[] = [
  { what: "writing node SIGKILL", begin: (writing) => writing.kill() },
  { what: "writing node SIGSTOP", begin: async (writing) => writing.pause() },
  { what: "writing node shut down", always: true, begin: (writing) => writing.stop() },
  { what: "another node SIGKILL", begin: (_, others) => others[0]!.kill() },
  { what: "another node SIGSTOP", begin: async (_, others) => others[0]!.pause() },
  { what: "another node shut down", begin: (_, others) => others[0]!.stop() },
  {
    what: "two nodes SIGKILL, quorum lost",
    always: true,
    noQuorum: true,
    begin: async (writing, others) => {
      await Promise.all([writing.kill(), others[0]!.kill()]);
    },
  },
];

for (const { what, always, begin, noQuorum } of MANNERS) {
  if (!(ALL || always)) continue;
  test(`${what}: no acknowledged write lost or made twice, no revision goes back, all heals`, async () => {
    const writing = await writingNode();
    const others = galera.nodes.filter((node) => node !== writing);
    const after = Number((await writing.sql(DATABASE, "SELECT revision FROM lars_state"))[0]![0]);
    const writers = new Writers();
    const watch = new RevisionWatch();
    await eventually(() => expect(writers.acknowledged.length).toBeGreaterThan(100), { timeoutMs: 20_000 });
    const faultMs = performance.now();
    await begin(writing, others);
    const before = writers.acknowledged.length;
    let healMs = faultMs;
    if (noQuorum === true) {
      await eventually(() => expect(writers.refusals).toBeGreaterThan(WRITERS), { timeoutMs: 30_000 });
      // The answers that were under way when the nodes went may still have come; no others.
      const held = writers.acknowledged.length;
      const looks = watch.looks;
      const refusals = writers.refusals;
      await eventually(() => expect(writers.refusals).toBeGreaterThan(refusals + 5 * WRITERS), { timeoutMs: 30_000 });
      expect(writers.acknowledged.length).toBe(held);
      expect(watch.looks).toBeGreaterThan(looks);
      healMs = performance.now();
      await Promise.all([writing.start(), others[0]!.start()]);
    }
    const first = Math.max(before, noQuorum === true ? writers.acknowledged.length : 0);
    await eventually(() => expect(writers.acknowledged.length).toBeGreaterThan(first + WRITERS), {
      timeoutMs: 60_000,
      intervalMs: 5,
    });
    const againMs = performance.now() - healMs;
    const beforeHeal = writers.acknowledged.length;
    await galera.heal();
    await eventually(() => expect(writers.acknowledged.length).toBeGreaterThan(beforeHeal + 100), {
      timeoutMs: 60_000,
    });
    await writers.stop();
    await watch.stop();
    expect(watch.steps).toEqual([]);
    const log = await changesAfter(after);
    for (let i = 1; i < log.length; i++) expect(log[i]!.revision).toBeGreaterThan(log[i - 1]!.revision);
    const added = log.flatMap(({ revision, items }) =>
      items.flatMap((item) => (item.after?.hosts ?? []).map(({ ip }) => `${revision} ${ip}`)),
    );
    const made = new Set(added);
    const ips = added.map((line) => line.split(" ")[1]);
    const lost = writers.acknowledged.filter(({ ip, revision }) => !made.has(`${revision} ${ip}`));
    const twice = ips.length - new Set(ips).size;
    expect({ lost: lost.length, twice }).toEqual({ lost: 0, twice: 0 });
    expect(ips.length).toBe(writers.acknowledged.length + writers.foundMade);
    for (const dns of lars.dns) expect(dns.output).not.toContain("older than what was served");
    process.stdout.write(
      `  ${what}: ${JSON.stringify({
        writesAgainMs: Math.round(againMs),
        acknowledged: writers.acknowledged.length,
        lost: lost.length,
        twice,
        refused: writers.refusals,
        refusedAndFoundMade: writers.foundMade,
        reads: watch.looks,
      })}\n`,
    );
  }, 150_000);
}

interface Entry {
  readonly revision: number;
  readonly items: readonly { readonly after?: { readonly hosts?: readonly { readonly ip: string }[] } }[];
}

async function changesAfter(revision: number): Promise<Entry[]> {
  const all: Entry[] = [];
  for (let after = revision; ; ) {
    const answer = await lars.admin("GET", `/v1/changes?after=${after}&limit=1000`);
    expect(answer.status).toBe(200);
    const { changes } = (await answer.json()) as { changes: Entry[] };
    all.push(...changes);
    const last = changes.at(-1);
    if (last === undefined) return all;
    after = last.revision;
  }
}

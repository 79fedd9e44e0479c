// The checker is checked: histories that are right by construction pass, and each kind of wrong that is planted in one is
// found and named.
import { describe, expect, test } from "bun:test";
import { type FuzzRandom, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { type History, type LoggedChange, lostWrites, type Sighting, violations, type WriteRecord } from "./history.ts";

const SEED = fuzzSeed();
const MODULES = ["1.1", "1.2", "2.1"];

interface Draft {
  writes: WriteRecord[];
  log: LoggedChange[];
  watchers: { name: string; sightings: Sighting[] }[];
}

/** Writers that take effect at some instant between start and end; watchers that skip some revisions, never the last. */
function rightHistory(random: FuzzRandom, writers = 4, each = 12): Draft {
  const drafts = Array.from({ length: writers }, (_, writer) => {
    let nowMs = random.float();
    return Array.from({ length: each }, (_, i) => {
      const startedMs = nowMs + 1 + random.float() * 5;
      const effectMs = startedMs + random.float() * 10;
      const endedMs = effectMs + random.float() * 10;
      nowMs = endedMs;
      const id = 1 + writer * each + i;
      const happened = i === 0 || random.float() < 0.8;
      const told = i === 0 || random.float() < 0.8;
      return { id, module: random.pick(MODULES), startedMs, effectMs, endedMs, happened, told };
    });
  }).flat();
  const log: LoggedChange[] = [];
  const revisions = new Map<number, number>();
  let revision = 1000;
  for (const { id, module, happened } of [...drafts].sort((a, b) => a.effectMs - b.effectMs)) {
    if (!happened) continue;
    revision += random.int(1, 3);
    revisions.set(id, revision);
    log.push({ revision, writes: [{ id, module }] });
  }
  const writes = drafts.map(({ id, module, startedMs, endedMs, happened, told }): WriteRecord => {
    const revision = revisions.get(id);
    const why = told ? "409" : "no answer in 1000 ms";
    if (!told) return { id, module, startedMs, endedMs, outcome: { kind: "unknown", why } };
    const outcome =
      happened && revision !== undefined
        ? ({ kind: "acknowledged", revision } as const)
        : ({ kind: "refused", why } as const);
    return { id, module, startedMs, endedMs, outcome };
  });
  const last = new Map(log.flatMap(({ revision, writes }) => writes.map(({ module }) => [module, revision] as const)));
  const watchers = ["one", "two"].map((name) => ({
    name,
    sightings: log.flatMap(({ revision, writes: [write] }) => {
      const { module } = write!;
      const skipped = last.get(module) !== revision && random.float() < 0.4;
      return skipped ? [] : Array.from({ length: random.int(1, 2) }, () => ({ module, revision }));
    }),
  }));
  return { writes, log, watchers };
}

function revisionOf(write: WriteRecord): number {
  if (write.outcome.kind !== "acknowledged") throw new Error(`write ${write.id} was not acknowledged`);
  return write.outcome.revision;
}

function acknowledged({ writes }: Draft): WriteRecord[] {
  return writes.filter(({ outcome }) => outcome.kind === "acknowledged").sort((a, b) => revisionOf(a) - revisionOf(b));
}

function replaceWrite(draft: Draft, id: number, change: Partial<WriteRecord>): void {
  draft.writes = draft.writes.map((write) => (write.id === id ? { ...write, ...change } : write));
}

test("500 histories that are right by construction have no violation and no lost write", () => {
  const random = makeFuzzRandom(SEED);
  for (let i = 0; i < 500; i++) {
    const history: History = rightHistory(random);
    expect(violations(history)).toEqual([]);
    expect(lostWrites(history)).toEqual([]);
  }
});

interface Plant {
  readonly what: string;
  readonly says: RegExp;
  readonly losesWrites?: boolean;
  plant(draft: Draft, random: FuzzRandom): void;
}

const PLANTS: readonly Plant[] = [
  {
    what: "an acknowledged write that is not in the log",
    says: /write (\d+) was acknowledged with revision \d+ and is not in the log/,
    losesWrites: true,
    plant(draft, random) {
      const { id } = random.pick(acknowledged(draft));
      draft.log = draft.log.filter(({ writes }) => writes[0]!.id !== id);
    },
  },
  {
    what: "an acknowledged write that is in the log at another revision",
    says: /was acknowledged with revision \d+ and is in the log at \d+/,
    losesWrites: true,
    plant(draft, random) {
      const write = random.pick(acknowledged(draft));
      replaceWrite(draft, write.id, { outcome: { kind: "acknowledged", revision: revisionOf(write) + 1_000_000 } });
    },
  },
  {
    what: "an acknowledged write that happened twice",
    says: /write \d+ \(acknowledged\) is in the log 2 times/,
    losesWrites: true,
    plant(draft, random) {
      const { id, module } = random.pick(acknowledged(draft));
      draft.log.push({ revision: draft.log.at(-1)!.revision + 1, writes: [{ id, module }] });
    },
  },
  {
    what: "a write of unknown outcome that happened twice",
    says: /write \d+ \(unknown\) is in the log 2 times/,
    plant(draft) {
      const write = draft.writes[0]!;
      replaceWrite(draft, write.id, { outcome: { kind: "unknown", why: "planted" } });
      draft.log.push({
        revision: draft.log.at(-1)!.revision + 1,
        writes: [{ id: write.id, module: write.module }],
      });
    },
  },
  {
    what: "a refused write that happened",
    says: /write \d+ was refused \(planted\) and is in the log/,
    plant(draft, random) {
      replaceWrite(draft, random.pick(acknowledged(draft)).id, { outcome: { kind: "refused", why: "planted" } });
    },
  },
  {
    what: "a write that nobody made",
    says: /the log has write 999 at \d+, which nobody made/,
    plant(draft) {
      draft.log.push({ revision: draft.log.at(-1)!.revision + 1, writes: [{ id: 999, module: "1.1" }] });
    },
  },
  {
    what: "a write that went to another module",
    says: /write \d+ of module \S+ is in the log under module 77.7/,
    plant(draft, random) {
      const { id } = random.pick(acknowledged(draft));
      draft.log = draft.log.map((entry) =>
        entry.writes[0]!.id === id ? { ...entry, writes: [{ id, module: "77.7" }] } : entry,
      );
    },
  },
  {
    what: "a revision given twice",
    says: /writes \d+ and \d+ were both acknowledged with revision \d+/,
    losesWrites: true,
    plant(draft) {
      const [first, second] = acknowledged(draft);
      replaceWrite(draft, second!.id, { outcome: first!.outcome });
    },
  },
  {
    what: "a log whose revisions do not increase",
    says: /the log has revision \d+ after \d+; they must strictly increase/,
    plant(draft, random) {
      const at = random.int(1, draft.log.length - 1);
      [draft.log[at - 1], draft.log[at]] = [draft.log[at]!, draft.log[at - 1]!];
    },
  },
  {
    what: "an order that contradicts the clock",
    says: /write \d+ was acknowledged with revision \d+ before write \d+ began, which got \d+/,
    plant(draft) {
      // The earliest revision is said to have been asked for when everything was over.
      const [first] = acknowledged(draft);
      const overMs = Math.max(...draft.writes.map(({ endedMs }) => endedMs)) + 1;
      replaceWrite(draft, first!.id, { startedMs: overMs, endedMs: overMs + 1 });
    },
  },
  {
    what: "a write without an answer whose place in the log contradicts the clock",
    says: /before write \d+ began, which got \d+/,
    plant(draft) {
      const [first] = acknowledged(draft);
      const overMs = Math.max(...draft.writes.map(({ endedMs }) => endedMs)) + 1;
      replaceWrite(draft, first!.id, {
        startedMs: overMs,
        endedMs: overMs + 1,
        outcome: { kind: "unknown", why: "planted" },
      });
    },
  },
  {
    what: "a watcher that saw a module go back",
    says: /one saw module \S+ go back from revision \d+ to \d+/,
    plant(draft) {
      const { sightings } = draft.watchers[0]!;
      const { module } = sightings.at(-1)!;
      const earlier = sightings.find((sighting) => sighting.module === module)!;
      sightings.push({ module, revision: earlier.revision - 1 }, sightings.at(-1)!);
    },
  },
  {
    what: "a watcher that saw a revision which is none",
    says: /two saw module \S+ at revision [\d.]+, which the log does not have/,
    plant(draft) {
      const { sightings } = draft.watchers[1]!;
      const { module, revision } = sightings.at(-1)!;
      const before = Math.max(
        0,
        ...sightings.filter((s) => s.module === module && s.revision < revision).map((s) => s.revision),
      );
      sightings.splice(
        sightings.findIndex((sighting) => sighting.module === module && sighting.revision === revision),
        0,
        { module, revision: before },
        { module, revision: revision - 0.5 },
      );
    },
  },
  {
    what: "a watcher that ended on a revision that is not the last",
    says: /two ended on \d+ for module \S+; its last revision is \d+/,
    plant(draft) {
      const watcher = draft.watchers[1]!;
      const { module, revision } = watcher.sightings.at(-1)!;
      watcher.sightings = watcher.sightings.filter((s) => s.module !== module || s.revision !== revision);
      watcher.sightings.unshift({ module, revision: 1 });
    },
  },
  {
    what: "a watcher that never heard of a module",
    says: /one ended on nothing for module 2.1; its last revision is \d+/,
    plant(draft) {
      const watcher = draft.watchers[0]!;
      watcher.sightings = watcher.sightings.filter(({ module }) => module !== "2.1");
    },
  },
];

describe("planted in 50 histories each, it is found and named:", () => {
  for (const { what, says, losesWrites, plant } of PLANTS) {
    test(what, () => {
      const random = makeFuzzRandom(SEED);
      for (let i = 0; i < 50; i++) {
        const draft = rightHistory(random);
        plant(draft, random);
        const found = violations(draft);
        expect(found.some((text) => says.test(text)) ? "found" : found).toBe("found");
        if (losesWrites !== undefined) expect(lostWrites(draft).length > 0).toBe(losesWrites);
      }
    });
  }
});

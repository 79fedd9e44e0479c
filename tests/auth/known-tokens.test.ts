// How long what another instance did to a token takes to count here, and what it costs, in virtual time.
import { describe, expect, test } from "bun:test";
import { KnownTokens } from "../../src/auth/known-tokens.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";

/** A store whose readings end when the test says so. */
class SlowTokenStore extends MemoryTokenStore {
  slow = false;
  readonly #held: (() => void)[] = [];

  override async list() {
    const tokens = await super.list();
    if (this.slow) await new Promise<void>((resolve) => this.#held.push(resolve));
    return tokens;
  }
  release(): void {
    for (const go of this.#held.splice(0)) go();
  }
}

class Rig {
  readonly clock = new ManualClock();
  readonly store = new SlowTokenStore();
  readonly known = new KnownTokens(this.store, this.clock, (ms, run) => this.clock.setTimer(ms, run));

  finds(secret: string): boolean {
    return this.known.find(new Bun.CryptoHasher("sha256").update(secret).digest("hex")) !== undefined;
  }
  async later(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms);
  }
}

async function rigWith(...secrets: string[]): Promise<Rig> {
  const rig = new Rig();
  for (const secret of secrets) rig.store.add("reader", secret);
  await rig.known.freshen();
  return rig;
}

async function isDone(work: Promise<unknown>): Promise<boolean> {
  let done = false;
  void work.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  await settle();
  return done;
}

describe("a list that ages", () => {
  test("is used for a second without a look at the database, then read again behind the requests' backs", async () => {
    const rig = await rigWith("a");
    await rig.later(999);
    await rig.known.freshen();
    expect(rig.store.lists).toBe(1);
    rig.store.slow = true;
    await rig.later(1);
    for (let i = 0; i < 50; i++) expect(await isDone(rig.known.freshen())).toBe(true);
    expect(rig.store.lists).toBe(2);
  });

  test("is waited for when it is two seconds old: a token revoked elsewhere counts no longer", async () => {
    const rig = await rigWith("a");
    rig.store.tokens.length = 0;
    await rig.later(1999);
    expect(rig.finds("a")).toBe(true);
    await rig.later(1);
    await rig.known.freshen();
    expect(rig.finds("a")).toBe(false);
  });

  test("with requests all the time a revoked token lives one second and the reading", async () => {
    const rig = await rigWith("a");
    rig.store.tokens.length = 0;
    let livedMs = 0;
    for (; rig.finds("a"); livedMs += 50) {
      await rig.later(50);
      await rig.known.freshen();
    }
    expect(livedMs).toBeLessThanOrEqual(1050);
  });
});

describe("a token that is not in the list", () => {
  test("is found at once when it was made elsewhere a moment ago", async () => {
    const rig = await rigWith("a");
    await rig.later(500);
    rig.store.add("reader", "new");
    expect(await rig.known.reread()).toBe(true);
    expect(rig.finds("new")).toBe(true);
  });

  test("makes the database be asked ten times a second at most, however many wait, and each waits 100 ms at most", async () => {
    const rig = await rigWith("a");
    const before = rig.store.lists;
    for (let ms = 0; ms < 1000; ms += 10) {
      for (let i = 0; i < 20; i++) void rig.known.reread();
      await rig.later(10);
    }
    expect(rig.store.lists - before).toBeLessThanOrEqual(10);
    expect(rig.store.lists - before).toBeGreaterThanOrEqual(9);
    rig.store.add("reader", "new");
    const found = rig.known.reread();
    await rig.later(100);
    expect(await found).toBe(true);
    expect(rig.finds("new")).toBe(true);
  });

  test("is not missed by a reading that began before it was made", async () => {
    const rig = await rigWith("a");
    await rig.later(500);
    rig.store.slow = true;
    const first = rig.known.reread();
    await settle();
    expect(rig.store.lists).toBe(2);
    rig.store.add("reader", "new");
    const second = rig.known.reread();
    rig.store.slow = false;
    rig.store.release();
    await rig.later(100);
    expect([await first, await second]).toEqual([true, true]);
    expect(rig.finds("new")).toBe(true);
  });
});

describe("a token revoked here", () => {
  test("counts no more at once, and a reading that was under way does not bring it back", async () => {
    const rig = await rigWith("a", "b");
    await rig.later(1500);
    rig.store.slow = true;
    await rig.known.freshen();
    await rig.store.remove("a", false);
    rig.known.forget("a");
    expect([rig.finds("a"), rig.finds("b")]).toEqual([false, true]);
    rig.store.slow = false;
    rig.store.release();
    await settle();
    expect([rig.finds("a"), rig.finds("b")]).toEqual([false, true]);
  });
});

describe("while the database is away", () => {
  test("the tokens last read go on to count, after one short wait a second at most", async () => {
    const rig = await rigWith("a");
    rig.store.failure = new StoreUnavailable("away");
    await rig.later(60_000);
    const before = rig.store.lists;
    for (let i = 0; i < 100; i++) await rig.known.freshen();
    expect(rig.finds("a")).toBe(true);
    expect(rig.store.lists - before).toBe(1);
    rig.store.failure = undefined;
    rig.store.add("reader", "b");
    await rig.later(1000);
    await rig.known.freshen();
    expect(rig.finds("b")).toBe(true);
  });

  test("a reading that hangs holds a request up for half a second, and later ones not at all", async () => {
    const rig = await rigWith("a");
    rig.store.slow = true;
    await rig.later(10_000);
    const first = rig.known.freshen();
    expect(await isDone(first)).toBe(false);
    await rig.later(499);
    expect(await isDone(first)).toBe(false);
    await rig.later(1);
    expect(await isDone(first)).toBe(true);
    expect(await isDone(rig.known.freshen())).toBe(true);
    expect(rig.finds("a")).toBe(true);
  });

  test("nobody can say of an unknown token: false at once after a failure, after half a second when it hangs", async () => {
    const rig = await rigWith("a");
    await rig.later(500);
    rig.store.failure = new StoreUnavailable("away");
    expect(await rig.known.reread()).toBe(false);
    expect(await isDone(rig.known.reread())).toBe(true);
    rig.store.failure = undefined;
    rig.store.slow = true;
    await rig.later(2000);
    const hung = rig.known.reread();
    await rig.later(499);
    expect(await isDone(hung)).toBe(false);
    await rig.later(1);
    expect(await hung).toBe(false);
  });

  test("without any list it throws what the database said, or that it took three seconds", async () => {
    const rig = new Rig();
    rig.store.failure = new StoreUnavailable("away");
    await expect(rig.known.freshen()).rejects.toThrow("away");
    rig.store.failure = undefined;
    rig.store.slow = true;
    const hung = rig.known.freshen();
    hung.catch(() => {});
    await rig.later(2999);
    expect(await isDone(hung)).toBe(false);
    await rig.later(1);
    await expect(hung).rejects.toBeInstanceOf(StoreUnavailable);
  });
});

test("two hashes that begin alike are two tokens: the whole is compared", async () => {
  const rig = new Rig();
  const like = (end: string) => "0123456789abcdef".repeat(3) + end.repeat(16);
  for (const end of ["a", "b"]) {
    rig.store.add("reader", end);
    rig.store.tokens.push({ ...rig.store.tokens.pop()!, sha256: like(end) });
  }
  await rig.known.freshen();
  expect(rig.known.find(like("a"))?.id).toBe("a");
  expect(rig.known.find(like("b"))?.id).toBe("b");
  expect(rig.known.find(like("c"))).toBeUndefined();
  expect(rig.known.find(like("a").slice(0, 63))).toBeUndefined();
});

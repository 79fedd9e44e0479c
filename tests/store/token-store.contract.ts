// What every token store does. Run by sqlite.test.ts and mariadb.external.ts.
import { describe, expect, test } from "bun:test";
import type { TokenRecord } from "../../src/store/route-store.ts";
import type { MakeDatabase } from "./store-fixture.ts";

export function tokenStoreContract(name: string, make: MakeDatabase): void {
  describe(`${name}: token store`, () => {
    const token: TokenRecord = {
      id: "t1",
      name: "Grüße 🔑",
      role: "admin",
      sha256: "ab".repeat(32),
      createdAtMs: 1_700_000_000_123,
      modules: [
        { modid: 1, cmdid: 1 },
        { modid: -2, cmdid: undefined },
      ],
      lastUsedAtMs: undefined,
    };

    test("a token is stored once; a second of its id is refused and changes nothing", async () => {
      const store = await (await make()).open();
      await store.migrate();
      expect(await store.tokens.list()).toEqual([]);
      expect(await store.tokens.insert(token)).toBe(true);
      expect(await store.tokens.insert({ ...token, role: "reader" })).toBe(false);
      expect(await store.tokens.insert({ ...token, id: "T1" })).toBe(true);
      expect(await store.tokens.list()).toEqual([{ ...token, id: "T1" }, token]);
      await store.close();
    });

    test("of several who insert one id at once, one succeeds", async () => {
      const store = await (await make()).open();
      await store.migrate();
      const results = await Promise.all([1, 2, 3, 4, 5].map((n) => store.tokens.insert({ ...token, name: `n${n}` })));
      expect(results.filter(Boolean)).toHaveLength(1);
      expect(await store.tokens.list()).toHaveLength(1);
      await store.close();
    });

    test("a token removed is gone, another stays; one that is not there is missing", async () => {
      const store = await (await make()).open();
      await store.migrate();
      await store.tokens.insert(token);
      await store.tokens.insert({ ...token, id: "t2", role: "reader", modules: [] });
      expect(await store.tokens.remove("t2", true)).toBe("removed");
      expect(await store.tokens.remove("t2", true)).toBe("missing");
      expect(await store.tokens.remove("T1", true)).toBe("missing");
      expect(await store.tokens.list()).toEqual([token]);
      await store.close();
    });

    test("the last admin's token stays while an admin is to be kept; readers and editors are none", async () => {
      const store = await (await make()).open();
      await store.migrate();
      await store.tokens.insert(token);
      await store.tokens.insert({ ...token, id: "t2", role: "editor" });
      expect(await store.tokens.remove("t1", true)).toBe("last-admin");
      expect(await store.tokens.list()).toHaveLength(2);
      await store.tokens.insert({ ...token, id: "t3" });
      expect(await store.tokens.remove("t1", true)).toBe("removed");
      expect(await store.tokens.remove("t3", true)).toBe("last-admin");
      expect(await store.tokens.remove("t3", false)).toBe("removed");
      expect(await store.tokens.list()).toMatchObject([{ id: "t2" }]);
      await store.close();
    });

    test("of two instances that remove the last two admins at once, one succeeds, in each of 10 rounds", async () => {
      const database = await make();
      const [one, other] = [await database.open(), await database.open()];
      await one.migrate();
      for (let round = 0; round < 10; round++) {
        await one.tokens.insert({ ...token, id: "a" });
        await one.tokens.insert({ ...token, id: "b" });
        const removals = await Promise.all([one.tokens.remove("a", true), other.tokens.remove("b", true)]);
        expect([...removals].sort()).toEqual(["last-admin", "removed"]);
        const left = await one.tokens.list();
        expect(left).toHaveLength(1);
        await one.tokens.remove(left[0]!.id, false);
      }
      await one.close();
      await other.close();
    });

    test("a last use only moves forward, whoever notes it and in what order", async () => {
      const database = await make();
      const [one, other] = [await database.open(), await database.open()];
      await one.migrate();
      await one.tokens.insert(token);
      await one.tokens.insert({ ...token, id: "t2" });
      await one.tokens.noteUses([]);
      await one.tokens.noteUses([
        { id: "t2", atMs: 5000 },
        { id: "gone", atMs: 9000 },
        { id: "t1", atMs: 7000 },
      ]);
      await other.tokens.noteUses([
        { id: "t1", atMs: 6000 },
        { id: "t2", atMs: 1_800_000_000_999 },
      ]);
      expect(await one.tokens.list()).toMatchObject([
        { id: "t1", lastUsedAtMs: 7000 },
        { id: "t2", lastUsedAtMs: 1_800_000_000_999 },
      ]);
      await one.close();
      await other.close();
    });
  });
}

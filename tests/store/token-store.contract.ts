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
  });
}

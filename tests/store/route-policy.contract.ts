// What every route store does with the policy a module chose. Run by sqlite.test.ts and mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import { NO_CHOICE, POLICIES, type PolicyChoice, STEERING_PARAMETERS } from "../../src/core/policies.ts";
import type { Database } from "../../src/store/database.ts";
import {
  adopt,
  commit,
  host,
  type MakeDatabase,
  NOW_MS,
  oldDelete,
  oldInsert,
  readAll,
  scalar,
} from "./store-fixture.ts";

const SECONDS = NOW_MS / 1000;

export function routePolicyContract(name: string, make: MakeDatabase): void {
  describe(`${name}: the policy of a route`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function fresh() {
      const database = await make();
      const store = await database.open();
      opened.push(store);
      await store.migrate();
      return { database, store, routes: store.routes };
    }

    test("a module's policy is read back, logged with what it was, and moves nothing in the original's tables", async () => {
      const { database, routes } = await fresh();
      const policy: PolicyChoice = { name: "adaptive", parameters: { decay: 2.25, consecutive_failures: 3 } };
      const put = { action: "put-route", modid: 1, cmdid: -2, hosts: [host(1)] } as const;
      await commit(routes, put);
      await commit(routes, { ...put, policy });
      expect((await readAll(routes)).route(1, -2)).toMatchObject({ policy, revision: SECONDS + 1, hosts: [host(1)] });
      expect(await scalar(database, "SELECT COUNT(*) FROM RouteChange")).toBe(1);
      await commit(routes, { action: "add-host", modid: 1, cmdid: -2, host: host(2) });
      expect((await readAll(routes)).route(1, -2)?.policy).toEqual(policy);
      await commit(routes, { ...put, hosts: [host(1), host(2)], policy: NO_CHOICE });
      expect((await readAll(routes)).route(1, -2)?.policy).toEqual(NO_CHOICE);
      const items = (await routes.changes(0, 10)).map(({ items: [item] }) => item);
      expect(items).toMatchObject([
        { before: { hosts: [] } },
        {
          before: { policy: "", policyParameters: {}, hosts: [] },
          after: { policy: "adaptive", policyParameters: { ...policy.parameters }, hosts: [] },
        },
        { before: { hosts: [] } },
        { before: { policy: "adaptive", policyParameters: { ...policy.parameters } }, after: { policy: "" } },
      ]);
      for (const i of [0, 2]) expect(JSON.stringify(items[i])).not.toContain("policy");
    });

    test("every policy with every parameter at its longest is kept", async () => {
      const { routes } = await fresh();
      const parameters = Object.fromEntries(
        Object.entries(STEERING_PARAMETERS).map(([name, { max, ...spec }]) => [
          name,
          "whole" in spec ? max : max - 1 / 3,
        ]),
      );
      for (const [cmdid, name] of POLICIES.entries()) {
        const policy: PolicyChoice = { name, parameters: name === "lars" ? {} : parameters };
        await commit(routes, { action: "put-route", modid: 1, cmdid, hosts: [host(1)], policy });
        expect((await readAll(routes)).route(1, cmdid)?.policy).toEqual(policy);
      }
    });

    test("an old tool's change of the hosts keeps the policy, and so does taking all of them away", async () => {
      const { database, routes } = await fresh();
      const policy: PolicyChoice = { name: "random", parameters: {} };
      await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1)], policy });
      await database.sql(oldDelete(1, 1, host(1)));
      expect(await adopt(routes)).toBe(1);
      await database.sql(oldInsert(1, 1, host(2)));
      expect(await adopt(routes)).toBe(1);
      expect((await readAll(routes)).route(1, 1)).toMatchObject({ policy, hosts: [host(2)] });
    });

    const columns: [policy: string, parameters: string, read: PolicyChoice][] = [
      ["fancy", '{"decay":2}', NO_CHOICE],
      ["", '{"decay":2}', NO_CHOICE],
      ["random", "{", NO_CHOICE],
      ["random", "null", NO_CHOICE],
      ["random", '["decay",2]', NO_CHOICE],
      ["random", '{"decay":2,"min_calls":0,"x":1,"slow_start":"3"}', { name: "random", parameters: { decay: 2 } }],
    ];
    test.each(columns)(
      "policy '%s' with parameters '%s' put there by hand is read as far as it is known",
      async (policy, parameters, read) => {
        const { database, routes } = await fresh();
        await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1)] });
        await database.sql(`UPDATE lars_route SET policy = '${policy}', policy_parameters = '${parameters}'`);
        expect((await readAll(routes)).route(1, 1)).toMatchObject({ policy: read, hosts: [host(1)] });
      },
    );

    test.each([
      ["none of its columns", ["policy", "policy_parameters"]],
      ["one of its columns, as a migration that died half-way leaves it", ["policy_parameters"]],
    ])("a database with %s is given them, and its modules have no choice", async (_title, missing) => {
      const { database, store, routes } = await fresh();
      await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1)] });
      for (const column of missing) await database.sql(`ALTER TABLE lars_route DROP COLUMN ${column}`);
      const before = "SELECT created_at FROM __drizzle_migrations ORDER BY created_at LIMIT 1 OFFSET 1";
      const last = await scalar(database, before);
      await database.sql(`DELETE FROM __drizzle_migrations WHERE created_at > ${String(last)}`);
      await store.migrate();
      expect((await readAll(routes)).route(1, 1)).toMatchObject({ policy: NO_CHOICE, hosts: [host(1)] });
      const policy: PolicyChoice = { name: "random", parameters: {} };
      await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1)], policy });
      expect((await readAll(routes)).route(1, 1)?.policy).toEqual(policy);
    });
  });
}

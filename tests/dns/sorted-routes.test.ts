import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeHost } from "../../src/core/assignment.ts";
import { formatEndpoint } from "../../src/core/endpoint.ts";
import { compareModuleKeys, formatModuleKey, type ModuleKey } from "../../src/core/module-key.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { exists, type RouteRecord } from "../../src/core/route-change.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import { loadedApp } from "./app-rig.ts";

function route(modid: number, cmdid: number, revision: number, hosts: number, name = ""): RouteRecord {
  const list = Array.from({ length: hosts }, (_, i) => makeHost(0x0a00_0001 + i, 80));
  return { modid, cmdid, name, policy: NO_CHOICE, revision, hosts: list };
}

interface Exported {
  readonly names: unknown;
  readonly routes: readonly { readonly modid: number; readonly hosts: readonly object[] }[];
}

const json = async (response: Response): Promise<Exported> => (await response.json()) as Exported;

const small = fc.integer({ min: -2, max: 4 });

describe("routes in order", () => {
  test("are what sorting all of them again would give, after any changes, filters and stretches", () => {
    const step = fc.record({
      changes: fc.array(fc.tuple(small, small, fc.integer({ min: 0, max: 2 }), fc.constantFrom("", "", "shop")), {
        maxLength: 6,
      }),
      query: fc.record({
        modid: fc.option(small, { nil: undefined }),
        q: fc.constantFrom(undefined, "", "1", "-1.", "10.0.0.2", ".1:80", "SHO", "x"),
        limit: fc.integer({ min: 1, max: 9 }),
        after: fc.option(fc.record({ modid: small, cmdid: small }), { nil: undefined }),
      }),
      effort: fc.integer({ min: 1, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const replica = new RouteReplica();
        const model = new Map<string, RouteRecord>();
        let revision = 0;
        for (const { changes, query, effort } of steps) {
          for (const [modid, cmdid, hosts, name] of changes) {
            const record = route(modid, cmdid, ++revision, hosts, name);
            model.set(formatModuleKey(record), record);
            replica.apply({ revision, routes: [record], names: [] });
          }
          const { modid, q = "", limit, after } = query;
          const matching = [...model.values()]
            .filter(exists)
            .sort(compareModuleKeys)
            .filter((r) => after === undefined || compareModuleKeys(r, after) > 0)
            .filter((r) => modid === undefined || r.modid === modid)
            .filter((r) =>
              [formatModuleKey(r), r.name, ...r.hosts.map(formatEndpoint)].some((text) =>
                text.includes(q.toLowerCase()),
              ),
            );
          const page = replica.list(query);
          expect(page.routes).toEqual(matching.slice(0, limit));
          expect(page.more).toBe(matching.length > limit);
          // In stretches: the same routes, and none of them costs more than it may.
          const found: RouteRecord[] = [];
          let from: ModuleKey | undefined = after;
          for (;;) {
            const stretch = replica.list({ ...query, after: from, limit: limit - found.length, effort });
            found.push(...stretch.routes);
            from = stretch.stoppedAt;
            if (from === undefined) break;
          }
          expect(found).toEqual(matching.slice(0, limit));
        }
      }),
      { seed: 11, numRuns: propertyRuns(200) },
    );
  });

  test("more than 1,000 modules that come and go between two lists are put in order once", () => {
    const replica = new RouteReplica();
    replica.apply({ revision: 1, routes: [route(0, 0, 1, 1)], names: [] });
    replica.list({ limit: 1 });
    for (let i = 0; i < 1_500; i++)
      replica.apply({ revision: 2 + i, routes: [route(1_500 - i, 0, 2 + i, 1)], names: [] });
    const { routes } = replica.list({ limit: 5_000 });
    expect(routes.map(({ modid }) => modid)).toEqual(Array.from({ length: 1_501 }, (_, i) => i));
  });
});

test("an export of 12,000 hosts comes in stretches, and is of the moment it was asked for", async () => {
  const rig = await loadedApp();
  const hosts = Array.from({ length: 40 }, (_, i) => ({ ip: `10.0.0.${i + 1}`, port: 80 }));
  const routes = Array.from({ length: 300 }, (_, i) => ({ modid: i + 1, cmdid: 1, hosts }));
  await rig.done("POST", "/v1/import", { routes, names: { modids: [{ id: 1, name: "ä" }], cmdids: [] } });
  const response = await rig.get("/v1/export");
  await rig.done("DELETE", "/v1/routes/300/1");
  const exported = await json(response);
  expect(response.headers.get("content-type")).toStartWith("application/json");
  expect(exported.routes).toHaveLength(300);
  expect([exported.routes[299]?.modid, exported.routes[299]?.hosts.length]).toEqual([300, 40]);
  expect(exported.names).toEqual({ modids: [{ id: 1, name: "ä" }], cmdids: [] });
  expect((await json(await rig.get("/v1/export"))).routes).toHaveLength(299);
});

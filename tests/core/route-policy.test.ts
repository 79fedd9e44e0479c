// What changes of routes do to the policy a module chose.
import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import { planChange, type RouteChange, type RouteRecord, type RouteView } from "../../src/core/route-change.ts";

const KEY = { modid: 1, cmdid: 2 } as const;
const host = makeHost(1, 80);
const other = makeHost(2, 80);
const fast: PolicyChoice = { name: "adaptive", parameters: { decay: 2 } };

function viewOf(record: Partial<RouteRecord>): RouteView {
  const route = { ...KEY, revision: 1, name: "", hosts: [host], policy: fast, ...record };
  return { route: () => route, tag: () => "1", name: () => "", routes: () => [route], names: () => [] };
}

/** The policy and the number of hosts after a change; "unchanged" when it plans nothing. */
function after(change: RouteChange, record: Partial<RouteRecord> = {}): unknown {
  const plan = planChange(viewOf(record), change);
  if (!plan.ok) return plan.reason;
  const [edit] = plan.routes;
  return edit === undefined ? "unchanged" : [edit.policy, edit.hosts.length];
}

const put = (policy?: PolicyChoice): RouteChange => ({ action: "put-route", ...KEY, hosts: [host], policy });

describe("a module's policy", () => {
  const table: [title: string, wanted: unknown, change: RouteChange, record?: Partial<RouteRecord>][] = [
    ["stays when the route is put without one", "unchanged", put()],
    ["put again is no change", "unchanged", put({ name: "adaptive", parameters: { decay: 2 } })],
    ["alone is a change", [{ name: "random", parameters: {} }, 1], put({ name: "random", parameters: {} })],
    [
      "is put whole: parameters not named are gone",
      [{ name: "adaptive", parameters: {} }, 1],
      put({ name: "adaptive", parameters: {} }),
    ],
    ["is taken away by an empty name", [NO_CHOICE, 1], put(NO_CHOICE)],
    ["where there is none, taken away is no change", "unchanged", put(NO_CHOICE), { policy: NO_CHOICE }],
    ["stays when a host is added", [fast, 2], { action: "add-host", ...KEY, host: other }],
    ["stays when a host is changed", [fast, 1], { action: "set-host", ...KEY, endpoint: host, weight: 7 }],
    [
      "waits for the hosts to come back when the last one leaves",
      [fast, 0],
      { action: "remove-host", ...KEY, endpoint: host },
    ],
    ["is there again with the first host", [fast, 1], { action: "add-host", ...KEY, host }, { hosts: [] }],
    ["goes with the route", [NO_CHOICE, 0], { action: "remove-route", ...KEY }],
    ["alone makes no route to remove", "not-found", { action: "remove-route", ...KEY }, { hosts: [] }],
    [
      "stays when an old tool changes the hosts",
      [fast, 1],
      { action: "adopt", names: [], routes: [{ ...KEY, hosts: [other] }] },
    ],
    [
      "is what an import says",
      [{ name: "lars", parameters: {} }, 1],
      {
        action: "import",
        replace: false,
        names: [],
        routes: [{ ...KEY, hosts: [host], policy: { name: "lars", parameters: {} } }],
      },
    ],
    [
      "stays when an import does not say",
      "unchanged",
      { action: "import", replace: true, names: [], routes: [{ ...KEY, hosts: [host] }] },
    ],
    [
      "goes when an import replaces everything and does not name the module",
      [NO_CHOICE, 0],
      { action: "import", replace: true, names: [], routes: [] },
    ],
    [
      "that waits for hosts goes then too",
      [NO_CHOICE, 0],
      { action: "import", replace: true, names: [], routes: [] },
      { hosts: [] },
    ],
    [
      "of a module that an import names twice is the one that either gives",
      [{ name: "random", parameters: {} }, 2],
      {
        action: "import",
        replace: false,
        names: [],
        routes: [
          { ...KEY, hosts: [host], policy: { name: "random", parameters: {} } },
          { ...KEY, hosts: [other] },
        ],
      },
    ],
  ];
  test.each(table)("%s", (_title, wanted, change, record = {}) => {
    expect(after(change, record)).toEqual(wanted);
  });
});

// The command line against a running system: what an operator types, and what is said when it is wrong.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, PROJECT_ROOT, startLars } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

let lars: Lars;
/** Of the change before all tests. */
let begunAt: number;

beforeAll(async () => {
  lars = await startLars();
  const written = await lars.admin("PUT", "/v1/routes/4/4", { hosts: [{ ip: "10.0.0.1", port: 80 }] });
  expect(written.status).toBe(200);
  begunAt = ((await written.json()) as { revision: number }).revision;
});
afterAll(async () => {
  await lars.stop();
});

async function run(line: string, token = ADMIN_TOKEN): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/cli/main.ts"), ...line.split(" ")], {
    env: {
      PATH: process.env.PATH ?? "",
      NO_COLOR: "1",
      LARS_DNS_URL: lars.dns[0]!.url,
      LARS_AGENT_URL: lars.agent[0]!.url,
      LARS_REPORT_URL: lars.report[0]!.url,
      LARS_ADMIN_TOKEN: token,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

async function json(line: string): Promise<unknown> {
  const { code, out, err } = await run(line);
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out);
}

test("hosts are added, changed, picked and removed; an export can be imported again", async () => {
  expect(await json("host add 5.5 10.0.0.1:80 --weight 7 --zone eu")).toMatchObject({ changed: true });
  expect(await json("host set 5.5 10.0.0.1:80 --weight 9")).toMatchObject({ changed: true });
  expect(await json("get 5.5")).toMatchObject({
    hosts: [{ ip: "10.0.0.1", port: 80, weight: 9, zone: "eu", state: "up" }],
  });
  await eventually(async () => expect(await json("pick 5.5")).toMatchObject({ ip: "10.0.0.1", port: 80 }));
  const file = join(lars.folder, "export.json");
  await Bun.write(file, (await run("export")).out);
  expect(await json("host remove 5.5 10.0.0.1:80")).toMatchObject({ changed: true });
  expect(await json(`import ${file} --dry-run`)).toMatchObject({
    dryRun: true,
    routes: [{ modid: 5, added: [{ weight: 9 }] }],
  });
  expect((await run("get 5.5")).code).toBe(1);
  expect(await json(`import ${file}`)).toMatchObject({ dryRun: false, changed: true });
  expect(await json("routes --q 5.5")).toMatchObject({ routes: [{ modid: 5, cmdid: 5, hosts: 1 }] });
  expect(await json(`changes --after ${begunAt} --limit 2`)).toMatchObject({
    changes: [{ who: "admin", action: "add-host" }, { action: "set-host" }],
  });
});

test("a change is shown, undone and confirmed by its revision; what cannot be undone says why", async () => {
  const { revision: added } = (await json("host add 8.8 10.0.0.1:80")) as { revision: number };
  const { revision: removed } = (await json("host remove 8.8 10.0.0.1:80")) as { revision: number };
  expect(await json(`changes ${removed}`)).toMatchObject({ revision: removed, action: "remove-host", who: "admin" });
  const { revision: undone } = (await json(`revert ${removed}`)) as { revision: number };
  expect(await json("get 8.8")).toMatchObject({ hosts: [{ ip: "10.0.0.1", port: 80 }] });
  expect(await json(`changes --after ${removed}`)).toMatchObject({ changes: [{ action: "revert", of: removed }] });
  expect(await json(`confirm ${added}`)).toEqual({ revision: undone, changed: false });
  const again = await run(`revert ${removed}`);
  expect(again).toMatchObject({ code: 1, out: "" });
  expect(again.err).toContain("409");
  expect(again.err).toContain("host 10.0.0.1:80 of 8.8");
  expect(await run("revert latest")).toMatchObject({
    code: 1,
    err: expect.stringContaining("expected a whole number"),
  });
});

// Side by side from here on: each has a module of its own or changes nothing.

test.concurrent.each([
  ["get nonsense", 'module is "nonsense"; expected modid.cmdid'],
  ["host add 1.1 10.0.0.1", 'host is "10.0.0.1"; expected ip:port'],
  ["host add 1.1 10.0.0.1:80 --weight many", '--weight is "many"; expected a whole number'],
  ["host set 1.1 10.0.0.9:80 --weight 1", "404"],
  ["get 1.1 --dns http://127.0.0.1:1", "was not reached"],
  ["import no-such-file.json", "no-such-file.json cannot be read"],
])("`lars %s` fails with one plain reason", async (line, reason) => {
  const { code, out, err } = await run(line);
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toStartWith("lars: ");
  expect(err).toContain(reason);
});

test.concurrent("a policy is chosen with parameters, shown and taken away; hosts stay as they are", async () => {
  await json("host add 6.6 10.0.0.1:80 --weight 7 --zone eu");
  await json("host add 6.6 10.0.0.2:80 --state draining");
  const { hosts } = (await json("get 6.6")) as { hosts: unknown };
  expect(await json("policy 6.6")).toEqual({ policy: "", policyParameters: {} });
  expect(await json("policy 6.6 adaptive --set decay=2.5 --set=min_calls=9")).toMatchObject({ changed: true });
  const chosen = { policy: "adaptive", policyParameters: { decay: 2.5, min_calls: 9 } };
  expect(await json("policy 6.6")).toEqual(chosen);
  expect(await json("get 6.6")).toMatchObject({ ...chosen, hosts });
  await eventually(async () => {
    await json("pick 6.6");
    expect(await json("verdicts 6.6")).toMatchObject(chosen);
  });
  expect(await json("policy 6.6 random")).toMatchObject({ changed: true });
  expect(await json("policy 6.6")).toEqual({ policy: "random", policyParameters: {} });
  expect(await json("policy 6.6 --clear")).toMatchObject({ changed: true });
  expect(await json("get 6.6")).not.toHaveProperty("policy");
  expect(await json("get 6.6")).toMatchObject({ hosts });
}, 20_000);

const wrongPolicies: [line: string, said: string][] = [
  ["policy 4.4 best", "adaptive"],
  ["policy 4.4 random --set dekay=1", "min_calls"],
  ["policy 4.4 random --set decay=9999", "a number from 0.1 to 600"],
  ["policy 4.4 random --set decay", "name=number"],
  ["policy 4.4 --set decay=1", "name before"],
  ["policy 4.4 random --clear", "--clear"],
  ["policy 9.9 random", "404"],
];

/** Module 4.4 is as it was put. */
async function unchanged(): Promise<void> {
  const route = (await (await lars.admin("GET", "/v1/routes/4/4")).json()) as { hosts: unknown[] };
  expect(route).not.toHaveProperty("policy");
  expect(route.hosts).toMatchObject([{ ip: "10.0.0.1", port: 80 }]);
}

test.concurrent.each(wrongPolicies)("`%s` changes nothing and says what is allowed", async (line, said) => {
  const { code, out, err } = await run(line);
  expect([code, out]).toEqual([1, ""]);
  expect(err).toContain(said);
  await unchanged();
});

test.concurrent("a change without a token that counts is refused, and says what to send", async () => {
  const { code, err } = await run("host add 4.4 10.0.0.2:80", "wrong");
  expect(code).toBe(1);
  expect(err).toContain("401");
  expect(err).toContain("Authorization: Bearer");
  await unchanged();
});

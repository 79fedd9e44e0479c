// The whole path with real processes on an embedded database: a route is written, pushed, picked, reported, stored.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

let lars: Lars;

beforeAll(async () => {
  lars = await startLars();
});
afterAll(async () => {
  await lars.stop();
});

test("a route written at dns is picked at the agent, and the reports arrive in the status, none lost", async () => {
  const written = await lars.admin("PUT", "/v1/routes/7/3", {
    hosts: [
      { ip: "10.0.0.1", port: 80 },
      { ip: "10.0.0.2", port: 80 },
    ],
  });
  expect(written.status).toBe(200);
  const agent = lars.agent[0]!.url;
  const picked = new Map<string, number>();
  for (let i = 0; i < 100; i++) {
    const response = await fetch(`${agent}/v1/hosts/7/3`);
    expect(response.status).toBe(200);
    const { ip, port } = (await response.json()) as { ip: string; port: number };
    picked.set(ip, (picked.get(ip) ?? 0) + 1);
    const report = await fetch(`${agent}/v1/reports`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ modid: 7, cmdid: 3, ip, port, retcode: i % 10 === 0 ? 1 : 0 }),
    });
    expect(report.status).toBe(204);
  }
  expect([...picked.keys()].sort()).toEqual(["10.0.0.1", "10.0.0.2"]);
  await eventually(async () => {
    const { status } = (await (await fetch(`${lars.report[0]!.url}/v1/status?modid=7&cmdid=3`)).json()) as {
      status: { ip: string; succ: number; err: number }[];
    };
    expect(status.map(({ ip, succ, err }) => [ip, succ + err] as const).sort()).toEqual([...picked].sort());
    expect(status.reduce((sum, { err }) => sum + err, 0)).toBe(10);
  });
});

test("a host drained at dns gets no more picks; one removed with the last host is a module that does not exist", async () => {
  const agent = lars.agent[0]!.url;
  await lars.admin("PUT", "/v1/routes/8/1", {
    hosts: [
      { ip: "10.0.1.1", port: 80 },
      { ip: "10.0.1.2", port: 80 },
    ],
  });
  await eventually(async () => expect((await fetch(`${agent}/v1/hosts/8/1`)).status).toBe(200));
  expect((await lars.admin("PATCH", "/v1/routes/8/1/hosts/10.0.1.1:80", { state: "draining" })).status).toBe(200);
  await eventually(async () => {
    const route = (await (await fetch(`${agent}/v1/routes/8/1`)).json()) as { hosts: { ip: string }[] };
    expect(route.hosts.map(({ ip }) => ip)).toEqual(["10.0.1.2"]);
  });
  for (let i = 0; i < 20; i++) {
    expect(((await (await fetch(`${agent}/v1/hosts/8/1`)).json()) as { ip: string }).ip).toBe("10.0.1.2");
  }
  expect((await lars.admin("DELETE", "/v1/routes/8/1")).status).toBe(200);
  await eventually(async () => expect((await fetch(`${agent}/v1/hosts/8/1`)).status).toBe(404));
});

// The agent's web application on dependencies that do nothing, and what it reported to them.
import { type AgentAppDeps, makeApp } from "../../src/agent/app.ts";
import type { CallReport } from "../../src/agent/shard-protocol.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

export function makeAgentApp(deps: Partial<AgentAppDeps> = {}) {
  const reports: CallReport[] = [];
  const log = new RecordingLog();
  const app = makeApp({
    pick: async () => ({ outcome: "host", ip: -1, port: 80 }),
    describe: async () => undefined,
    report: (more) => void reports.push(...more),
    dnsConnected: () => true,
    kept: () => undefined,
    registrations: {
      keeper: {
        put: async () => ({ outcome: "full" }),
        heartbeat: () => undefined,
        delete: async () => undefined,
        get: () => undefined,
        list: () => [],
      },
      max: () => 0,
      drainGraceMs: () => 0,
      nowMs: () => 0,
    },
    log,
    metrics: silentMetrics,
    clock: new ManualClock(),
    ready: () => undefined,
    ...deps,
  });
  const post = (body: unknown, type = "application/json"): Promise<Response> =>
    Promise.resolve(
      app.request("/v1/reports", {
        method: "POST",
        headers: { "content-type": type },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    );
  return { app, reports, log, post };
}

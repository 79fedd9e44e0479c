// The test's end of registering-process.ts: two services registered at an agent, and whether they are where they should be.
// While the agent reaches a dns that can write, or none can, nobody has a reason to end their leases. Where the agent alone
// is cut off (or does not run), they may end, and must be back soon after.
import { expect } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type LarsProcess } from "../support/lars-processes.ts";
import { readExpiries } from "./expiries.ts";
import type { RegisteringOptions } from "./registering-process.ts";

/** From when all processes are ready after a fault until they are in their routes again. */
const BACK_WITHIN_MS = 5000;
const MODID = 600;

export class AgentServices {
  readonly #options: RegisteringOptions;
  readonly #child: Bun.Subprocess;

  /** `command`: what to run them under, to be in the agent's network. */
  constructor(agent: LarsProcess, ttlSeconds: number, command: readonly string[] = []) {
    const { hostname, port } = new URL(agent.url);
    this.#options = {
      agent: agent.url,
      ttlSeconds,
      beating: { id: "beating", modid: MODID, cmdid: 1, ip: "10.101.0.1", port: 9000 },
      checked: { id: "checked", modid: MODID, cmdid: 2, ip: hostname, port: Number(port) },
    };
    this.#child = Bun.spawn(
      [...command, process.execPath, join(import.meta.dir, "registering-process.ts"), JSON.stringify(this.#options)],
      { stdin: "ignore", stdout: "inherit", stderr: "inherit", ipc: () => {}, serialization: "json" },
    );
  }

  /** Resolves when both are in their routes at `dns`. */
  async registered(dns: LarsProcess, timeoutMs = 15_000): Promise<void> {
    await eventually(
      async () => {
        for (const { id, modid, cmdid, ip, port } of [this.#options.beating, this.#options.checked]) {
          const response = await fetch(`${dns.url}/v1/routes/${modid}/${cmdid}`, {
            headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
            signal: AbortSignal.timeout(1000),
          });
          const { hosts = [] } = (await response.json()) as { hosts?: { ip: string; port: number }[] };
          if (!hosts.some((host) => host.ip === ip && host.port === port))
            throw new Error(`the service "${id}", registered at the agent, is not in its route at ${dns.url}`);
        }
      },
      { timeoutMs, intervalMs: 50 },
    );
  }

  /** They are in their routes again, soon after a fault. `readyAtMs`: when all processes were, on performance.now(). */
  async back(dns: LarsProcess, readyAtMs: number): Promise<void> {
    await this.registered(dns, readyAtMs + BACK_WITHIN_MS - performance.now());
  }

  /** After a fault during which the agent reached a dns: neither left its route. */
  async judge(dns: LarsProcess, startRevision: number): Promise<void> {
    const { expired } = await readExpiries(dns.url, startRevision, ["expire", "deregister"]);
    const { beating, checked } = this.#options;
    const ended = [beating, checked].filter(({ ip, port }) => expired.includes(`${ip}:${port}`)).map(({ id }) => id);
    expect({ "left their routes although the agent reached a dns": ended }).toEqual({
      "left their routes although the agent reached a dns": [],
    });
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

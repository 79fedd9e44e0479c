// The scenario's routes, as an operator's script would write them: over HTTP to the dns service. A host that leaves the
// route while the scenario goes on is drained (`draining`), not deleted, as one does before a restart; to the agent it is
// the same.
//
// One agent process plays all agents of a scenario: every simulated agent has a balancer of its own, and so has every
// module. They share nothing else, so fifty modules are fifty agents.
import { formatIp } from "../../../src/core/endpoint.ts";
import type { ModuleKey } from "../../../src/core/module-key.ts";
import type { Lars } from "../../support/lars-processes.ts";
import type { Setting } from "../engine.ts";

const FIRST_IP = 0x0a00_0001;
const PORT = 80;

export const endpointOf = (host: number): { readonly ip: number; readonly port: number } => ({
  ip: FIRST_IP + host,
  port: PORT,
});

/** The host's place in the scenario; -1: none of it. */
export function hostAt(ip: number, port: number, count: number): number {
  const host = ip - FIRST_IP;
  return port === PORT && host >= 0 && host < count ? host : -1;
}

export class RouteEditor {
  /** Hosts that were in the route before; those that are in it no more drain. */
  readonly #known = new Set<number>();
  /** What went wrong: a run with failures measured something else than it says. */
  readonly failures: string[] = [];

  constructor(
    private readonly lars: Lars,
    private readonly setting: Setting,
    readonly modules: readonly ModuleKey[],
  ) {}

  /** Makes these hosts the route of all modules, as one change. Never throws; see `failures`. */
  async write(hosts: readonly number[]): Promise<void> {
    for (const host of hosts) this.#known.add(host);
    const entries = [...this.#known]
      .sort((a, b) => a - b)
      .map((host) => {
        const { ip, port } = endpointOf(host);
        const weight = this.setting.hosts[host]!.weight;
        const state = hosts.includes(host) ? "up" : "draining";
        return { ip: formatIp(ip), port, state, ...(weight === undefined ? {} : { weight }) };
      });
    const routes = this.modules.map((module) => ({ ...module, hosts: entries }));
    try {
      const response = await this.lars.admin("POST", "/v1/import", { routes });
      if (!response.ok) this.failures.push(`route change: ${response.status} ${(await response.text()).slice(0, 300)}`);
    } catch (error) {
      this.failures.push(`route change: ${String(error)}`);
    }
  }
}

// What the models of other balancers share. They are small and written from public documentation, to show what a user of
// those systems would get in the same scenarios. What they leave out is said in each.
//
// One limit is common to all: a pick-and-report interface does not show a rival the connection itself. A gRPC channel
// takes a host whose connection is refused out of its round robin at once, and Finagle's fail-fast does alike; here a
// refused connection is a failed call like any other. Where hosts refuse, the models of these two are therefore worse
// than the real ones; where hosts hang, fail or are slow, they are not.
//
// Rivals are part of their caller: they time every call themselves and lose no report. They are played only where
// callers send latencies, all reports arrive and no caller dies.
import type { Host } from "../../../src/core/assignment.ts";
import type { BalancedHost, Balancer, HostVerdict, Random, SHEDDING } from "../../../src/core/balancer.ts";
import { endpointKey } from "../../../src/core/endpoint.ts";

export class RivalHost implements BalancedHost {
  readonly kind = "host";
  tag = -1;
  available = true;
  inFlight = 0;

  constructor(
    readonly ip: number,
    readonly port: number,
    public weight: number,
  ) {}
}

export abstract class Rival<H extends RivalHost> implements Balancer {
  readonly #byEndpoint = new Map<number, H>();
  /** In the order of the route. */
  protected list: H[] = [];

  protected abstract makeHost(host: Host, nowMs: number): H;
  abstract pick(nowMs: number, random: Random, keyHash: number): H | typeof SHEDDING;
  abstract report(host: BalancedHost, succeeded: boolean, latencyUs: number, nowMs: number): void;

  find(ip: number, port: number): H | undefined {
    return this.#byEndpoint.get(endpointKey(ip, port));
  }

  update(hosts: readonly Host[], nowMs: number): readonly BalancedHost[] {
    const before = new Set(this.list);
    this.list = hosts.map((host) => {
      const known = this.find(host.ip, host.port) ?? this.makeHost(host, nowMs);
      known.weight = host.weight;
      return known;
    });
    for (const host of this.list) before.delete(host);
    this.#byEndpoint.clear();
    for (const host of this.list) this.#byEndpoint.set(endpointKey(host.ip, host.port), host);
    return [...before];
  }

  hosts(): Iterable<H> {
    return this.list;
  }

  describe(_nowMs: number): readonly HostVerdict[] {
    return this.list.map(({ ip, port, weight, available }) => ({
      ip,
      port,
      weight,
      zone: "",
      verdict: available ? "available" : "ejected",
      reason: "",
      sinceMs: 0,
      succ: 0,
      err: 0,
    }));
  }
}

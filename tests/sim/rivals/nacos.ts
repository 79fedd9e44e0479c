// Nacos: its client's choice among the healthy instances, weighted at random. Health is what the registry says, after
// heartbeats stop for 15 s (and 30 s until removal); no call's outcome is ever looked at. Source: Nacos' user guide,
// `selectOneHealthyInstance`. The scenarios' hosts keep sending heartbeats while their service fails, which is the case
// passive ejection exists for; a host that is cut off whole would leave after those 15 s.
import type { Host } from "../../../src/core/assignment.ts";
import { type BalancedHost, type Random, SHEDDING } from "../../../src/core/balancer.ts";
import type { BalancerFactory } from "../engine.ts";
import { Rival, RivalHost } from "./rival.ts";

class Nacos extends Rival<RivalHost> {
  protected makeHost({ ip, port, weight }: Host): RivalHost {
    return new RivalHost(ip, port, weight);
  }

  pick(_nowMs: number, random: Random): RivalHost | typeof SHEDDING {
    let total = 0;
    for (const host of this.list) total += host.weight;
    let left = random() * total;
    for (const host of this.list) {
      left -= host.weight;
      if (left < 0) return host;
    }
    return this.list.at(-1) ?? SHEDDING;
  }

  report(_host: BalancedHost): void {}
}

export const nacosRandom: BalancerFactory = () => new Nacos();

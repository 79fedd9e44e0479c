// When a module's balancing moves from one thread to another, its new balancer is told what the old one thought of the
// hosts. State is not copied, for every policy keeps its own: the verdicts are played to it as calls that went so. Who
// was well is so with one call, as slow as calls were; who was held out fails until it is held out again. Windows and
// pauses begin anew, as they do when a shard is restarted, but no host has to be found dead twice.
import type { Balancer, HostVerdict } from "./balancer.ts";

/** What of a verdict travels. */
export type Standing = Pick<HostVerdict, "ip" | "port" | "verdict" | "latencyMs">;

export function standingsOf(balancer: Balancer, nowMs: number): readonly Standing[] {
  return balancer.describe(nowMs).map(({ ip, port, verdict, latencyMs }) => ({
    ip,
    port,
    verdict,
    ...(latencyMs === undefined ? {} : { latencyMs }),
  }));
}

/** As many failures in a row as any policy may be configured to want. */
const MAX_FAILURES = 1000;

/** `balancer` must be new: a host that it holds out already stays so until a probe succeeds. */
export function adoptVerdicts(balancer: Balancer, verdicts: readonly Standing[], nowMs: number): void {
  // First the healthy ones: without them nobody is an outlier.
  for (const { ip, port, verdict, latencyMs } of verdicts) {
    const host = verdict === "available" ? balancer.find(ip, port) : undefined;
    if (host !== undefined) balancer.report(host, true, Math.round((latencyMs ?? 0) * 1000), nowMs);
  }
  for (const { ip, port, verdict } of verdicts) {
    const host = verdict === "ejected" ? balancer.find(ip, port) : undefined;
    for (let i = 0; i < MAX_FAILURES && host?.available === true; i++) balancer.report(host, false, 0, nowMs);
  }
}

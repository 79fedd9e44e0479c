// Policy `lars`: the original's rule, exactly, for teams that migrate and want no surprise.
//
// Every module has a list of available hosts and a list of ejected ones (the original says idle and overload). A pick
// takes the front of a list and puts it at the back. Every host keeps two pairs of counts: the scored ones, which
// start with credit (180 successes when it becomes available, 5 failures when it is ejected) and decide by ratio, and
// the real ones of the current window. While both lists are filled, one pick in probe_num + 1 goes to the ejected list.
// A host that is ejected long enough is let back in whatever was reported.
//
// The lists are intrusive and doubly linked: rotating, moving and removing a host are O(1).
import { type Host, hostKey } from "./assignment.ts";
import type { BalancedHost, Balancer, HostVerdict, Random } from "./balancer.ts";
import { SHEDDING } from "./balancer.ts";
import { type Endpoint, endpointKey } from "./endpoint.ts";
import { PackedHosts } from "./packed-hosts.ts";

/** Lars' own key names and units: counts, shares of 1, seconds. */
export interface LarsParameters {
  readonly probe_num: number;
  readonly init_succ_cnt: number;
  readonly init_err_cnt: number;
  readonly err_rate: number;
  readonly succ_rate: number;
  readonly contin_err_limit: number;
  readonly contin_succ_limit: number;
  readonly window_err_rate: number;
  readonly idle_timeout: number;
  readonly overload_timeout: number;
}

/** The original's values, which are the agent's defaults. */
export const LARS_DEFAULTS: LarsParameters = Object.freeze({
  probe_num: 10,
  init_succ_cnt: 180,
  init_err_cnt: 5,
  err_rate: 0.1,
  succ_rate: 0.5,
  contin_err_limit: 15,
  contin_succ_limit: 15,
  window_err_rate: 0.7,
  idle_timeout: 15,
  overload_timeout: 15,
});

class LarsHost implements BalancedHost {
  readonly kind = "host";
  tag = -1;
  available = true;
  vsucc = 0;
  verr = 0;
  rsucc = 0;
  rerr = 0;
  continSucc = 0;
  continErr = 0;
  sinceMs = 0;
  reason = "";
  list: HostRing | undefined;
  previous: LarsHost = this;
  next: LarsHost = this;

  constructor(
    readonly ip: number,
    readonly port: number,
    public weight: number,
    public zone: string,
  ) {}
}

/** A ring of hosts with a front. */
class HostRing {
  #front: LarsHost | undefined;

  get isEmpty(): boolean {
    return this.#front === undefined;
  }

  pushBack(host: LarsHost): void {
    host.list = this;
    const front = this.#front;
    if (front === undefined) {
      host.previous = host;
      host.next = host;
      this.#front = host;
      return;
    }
    host.previous = front.previous;
    host.next = front;
    front.previous.next = host;
    front.previous = host;
  }

  remove(host: LarsHost): void {
    host.list = undefined;
    if (host.next === host) {
      this.#front = undefined;
      return;
    }
    host.previous.next = host.next;
    host.next.previous = host.previous;
    if (this.#front === host) this.#front = host.next;
  }

  /** The front, which goes to the back. The ring must not be empty. */
  rotate(): LarsHost {
    const host = this.#front!;
    this.#front = host.next;
    return host;
  }
}

export class LarsBalancer implements Balancer {
  #parameters: LarsParameters;
  readonly #hosts = new Map<number, LarsHost>();
  readonly #idle = new HostRing();
  readonly #overload = new HostRing();
  #picks = 0;
  /** Sorted. */
  #route = PackedHosts.NONE;

  constructor(parameters: LarsParameters) {
    this.#parameters = parameters;
  }

  /** New parameters count from the next pick and report on; what hosts have earned so far stays. */
  configure(parameters: LarsParameters): void {
    this.#parameters = parameters;
  }

  pick(_nowMs: number, _random: Random, _keyHash: number): LarsHost | typeof SHEDDING {
    if (this.#overload.isEmpty) return this.#idle.isEmpty ? SHEDDING : this.#idle.rotate();
    if (this.#picks >= this.#parameters.probe_num) {
      this.#picks = 0;
      return this.#overload.rotate();
    }
    this.#picks++;
    return this.#idle.isEmpty ? SHEDDING : this.#idle.rotate();
  }

  find(ip: number, port: number): LarsHost | undefined {
    return this.#hosts.get(endpointKey(ip, port));
  }

  report(reported: BalancedHost, succeeded: boolean, _latencyUs: number, nowMs: number): void {
    const host = reported as LarsHost;
    // A report for a host that has left: it is in neither list and must not come back by its report.
    if (host.list === undefined) return;
    if (succeeded) {
      host.vsucc++;
      host.rsucc++;
      host.continSucc++;
      host.continErr = 0;
    } else {
      host.verr++;
      host.rerr++;
      host.continErr++;
      host.continSucc = 0;
    }
    if (host.available) this.#judgeAvailable(host, succeeded, nowMs);
    else this.#judgeEjected(host, succeeded, nowMs);
  }

  #judgeAvailable(host: LarsHost, succeeded: boolean, nowMs: number): void {
    const parameters = this.#parameters;
    if (!succeeded) {
      const errShare = host.verr / (host.vsucc + host.verr);
      if (errShare > parameters.err_rate) {
        this.#eject(
          host,
          nowMs,
          `${percent(errShare)} of scored calls failed, over err_rate ${percent(parameters.err_rate)}`,
        );
        return;
      }
      if (host.continErr >= parameters.contin_err_limit) {
        this.#eject(host, nowMs, `${host.continErr} consecutive failures`);
        return;
      }
    }
    if (nowMs - host.sinceMs < parameters.idle_timeout * 1000) return;
    const windowErrShare = host.rerr / (host.rsucc + host.rerr);
    if (windowErrShare >= parameters.window_err_rate) {
      this.#eject(host, nowMs, `${percent(windowErrShare)} of the calls in its window failed`);
    } else {
      startIdleWindow(host, parameters, nowMs, "a new window began");
    }
  }

  #judgeEjected(host: LarsHost, succeeded: boolean, nowMs: number): void {
    const parameters = this.#parameters;
    if (succeeded) {
      const succShare = host.vsucc / (host.vsucc + host.verr);
      if (succShare > parameters.succ_rate) {
        this.#readmit(host, nowMs, `readmitted: ${percent(succShare)} of scored calls succeeded`);
        return;
      }
      if (host.continSucc >= parameters.contin_succ_limit) {
        this.#readmit(host, nowMs, `readmitted: ${host.continSucc} consecutive successes`);
        return;
      }
    }
    if (nowMs - host.sinceMs >= parameters.overload_timeout * 1000) {
      this.#readmit(host, nowMs, `readmitted: ejected for overload_timeout ${parameters.overload_timeout} s`);
    }
  }

  #eject(host: LarsHost, nowMs: number, reason: string): void {
    this.#idle.remove(host);
    host.available = false;
    host.vsucc = 0;
    host.verr = this.#parameters.init_err_cnt;
    host.rsucc = 0;
    host.rerr = 0;
    host.continSucc = 0;
    host.continErr = 0;
    host.sinceMs = nowMs;
    host.reason = `ejected: ${reason}`;
    this.#overload.pushBack(host);
  }

  #readmit(host: LarsHost, nowMs: number, reason: string): void {
    this.#overload.remove(host);
    startIdleWindow(host, this.#parameters, nowMs, reason);
    this.#idle.pushBack(host);
  }

  update(hosts: readonly Host[] | PackedHosts, nowMs: number): readonly BalancedHost[] {
    const given = PackedHosts.of(hosts);
    const route = given.sorted();
    const difference = route.differenceFrom(this.#route);
    const left = difference.left.flatMap((index) => this.find(this.#route.ip(index), this.#route.port(index)) ?? []);
    this.#route = route;
    // Hosts come into the list in the order given.
    if (given !== route) for (const host of given) this.#join(host, nowMs);
    else for (const index of difference.joined) this.#join(route.host(index), nowMs);
    for (const index of difference.changed) {
      const known = this.find(route.ip(index), route.port(index))!;
      known.weight = route.weight(index);
      known.zone = route.zone(index);
    }
    for (const host of left) {
      host.list?.remove(host);
      this.#hosts.delete(hostKey(host));
    }
    return left;
  }

  /** The last that is said of a host counts. */
  #join({ ip, port, weight, zone }: Host, nowMs: number): void {
    const key = endpointKey(ip, port);
    const known = this.#hosts.get(key);
    if (known !== undefined) {
      known.weight = weight;
      known.zone = zone;
      return;
    }
    const host = new LarsHost(ip, port, weight, zone);
    startIdleWindow(host, this.#parameters, nowMs, "in the route");
    this.#hosts.set(key, host);
    this.#idle.pushBack(host);
  }

  hosts(): Iterable<LarsHost> {
    return this.#hosts.values();
  }

  describe(_nowMs: number, some?: readonly Endpoint[]): readonly HostVerdict[] {
    const hosts = some === undefined ? this.#hosts.values() : some.flatMap(({ ip, port }) => this.find(ip, port) ?? []);
    return Array.from(hosts, verdictOf);
  }
}

function verdictOf(host: LarsHost): HostVerdict {
  return {
    ip: host.ip,
    port: host.port,
    weight: host.weight,
    zone: host.zone,
    verdict: host.available ? "available" : "ejected",
    reason: host.reason,
    sinceMs: host.sinceMs,
    succ: host.rsucc,
    err: host.rerr,
  };
}

/** The original's set_idle: credit of init_succ_cnt successes, the rest zero. */
function startIdleWindow(host: LarsHost, parameters: LarsParameters, nowMs: number, reason: string): void {
  host.available = true;
  host.vsucc = parameters.init_succ_cnt;
  host.verr = 0;
  host.rsucc = 0;
  host.rerr = 0;
  host.continSucc = 0;
  host.continErr = 0;
  host.sinceMs = nowMs;
  host.reason = reason;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

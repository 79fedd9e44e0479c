// Which hosts are held out of the picks, and how they get back. One rule book around every policy (grpc-js and Envoy are
// built so: outlier detection wraps the picker).
//
// Out: failures in a row, or a share of successes that is low in itself or against the other hosts, by more than chance
// explains. Only an outlier is ejected: when the others fail alike, the fault is not the host's (a dependency they share,
// the caller itself), and taking hosts out would help nobody. So somebody else must be healthy.
// Back: after a pause, one pick at a time goes to the host as a probe. A failed probe doubles the pause; a success
// readmits the host on probation, with a share that ramps up, and a failure then ejects it at once. The pause needs no
// doubling beyond the point where probes cost nearly nothing: it stops at the interval at which all probes together
// are less than a thousandth of the module's calls. A busy module finds a recovered host within seconds, a quiet one is spared.
// Panic: when those that are left fail too, everybody is tried, and whoever succeeds is back.
import type { Random } from "./balancer.ts";
import { CallWindow } from "./call-window.ts";
import type { HostTable } from "./host-table.ts";
import type { SteeringParameters } from "./policies.ts";
import type { SteeredHost } from "./steered-host.ts";

/** Probes may cost this share of a module's calls. */
const PROBE_SHARE = 0.0009;
/** In a quiet module the first pause is longer: a probe may not be one call of a few. */
const CALLS_BETWEEN_PROBES = 40;
const PROBE_JITTER = 0.1;
/** A probe that nobody reported counts as never sent after this long. */
const PROBE_LEASE_MS = 5000;
/** A rate that is lower by less than this is not worth a host. */
const MIN_RATE_DIFFERENCE = 0.08;
/** Share of recent successes among those that are left: below the first, panic; above the second, no more. */
const PANIC_BELOW = 0.3;
const CALM_ABOVE = 0.6;
const SURVIVOR_WEIGHT = 0.1;
/** After a survivor failed in a panic that sheds calls, the next one is tried so much later. */
const TRIAL_PAUSE_MS = 1000;
/** A host below min_success_rate is an outlier sooner than one above it, but not by chance. */
const LOW_RATE_DEVIATIONS = 2.5;
const SHARED_TROUBLE_DEVIATIONS = 1.5;
/** Others that do at least this well over that many calls make consecutive failures count for more. */
const WELL_RATE = 0.98;
const WELL_CALLS = 10;
const WELL_SHARE = 0.6;
/** A host that fails again so long after it failed, without a success in between, has not just stumbled. */
const LASTING_MS = 1000;
const LASTING_SHARE = 0.4;
/** While the others do worse than this, one failure of a readmitted host is no sign. */
const PROBATION_RATE = 0.95;
const READMISSION_RAMP_MS = 1000;
const RATE_EVERY_MS = 1000;

const NOBODY: readonly SteeredHost[] = [];

export class Ejection {
  #parameters: SteeringParameters;
  readonly #random: Random;
  /** Of all hosts. */
  readonly #window: CallWindow;
  /** Those that have no state yet have no calls either. */
  #hosts: HostTable | undefined;
  /** Replaced when it changes. */
  #ejected: readonly SteeredHost[] = NOBODY;
  #nextProbeAtMs = Number.POSITIVE_INFINITY;
  #nextTrialAtMs = 0;
  #survivors = 1;
  #panic = false;
  #picksPerSecond = 0;
  #countedPicks = 0;
  #countedFromMs = Number.NaN;

  constructor(parameters: SteeringParameters, random: Random) {
    this.#parameters = parameters;
    this.#random = random;
    this.#window = new CallWindow(parameters.success_window * 1000);
  }

  get ejected(): readonly SteeredHost[] {
    return this.#ejected;
  }

  /** Those that are left fail too: every host is to be tried. */
  get panic(): boolean {
    return this.#panic;
  }

  /** Another success_window begins empty: what was counted in steps of the old one cannot be cut to the new. */
  configure(parameters: SteeringParameters): void {
    const { success_window } = parameters;
    if (success_window !== this.#parameters.success_window) {
      this.#window.resize(success_window * 1000);
      for (let i = 0; i < this.#size; i++) this.#hosts!.made(i)?.window.resize(success_window * 1000);
    }
    this.#parameters = parameters;
  }

  /** The module's hosts; those that stay keep their state, and those that do not are marked. */
  setHosts(hosts: HostTable): void {
    this.#hosts = hosts;
    const ejected = this.#ejected.filter((host) => !host.hasLeft);
    this.#ejected = ejected.length === 0 ? NOBODY : ejected;
    this.#scheduleProbes();
    const noneIsLeft = this.#ejected.length === hosts.length;
    // When those that were left have left the route, everybody is to be tried, and whoever succeeds is back.
    if (this.#ejected.length === 0) this.#panic = false;
    else this.#panic = noneIsLeft || (this.#panic && this.#survivors <= CALM_ABOVE);
  }

  /** A host left the route: its calls say nothing about the others'. */
  forget(host: SteeredHost, nowMs: number): void {
    this.#window.remove(host.window, nowMs);
  }

  get #size(): number {
    return this.#hosts === undefined ? 0 : this.#hosts.length;
  }

  countPick(nowMs: number): void {
    this.#countedPicks++;
    if (!(nowMs - this.#countedFromMs < RATE_EVERY_MS)) {
      const seconds = (nowMs - this.#countedFromMs) / 1000;
      if (seconds > 0) {
        const rate = this.#countedPicks / seconds;
        this.#picksPerSecond = this.#picksPerSecond === 0 ? rate : (this.#picksPerSecond + rate) / 2;
      }
      this.#countedFromMs = nowMs;
      this.#countedPicks = 0;
    }
  }

  /** An ejected host whose probe is due, or undefined. The pick that is made of it is the probe. O(1) unless one is due. */
  probe(nowMs: number): SteeredHost | undefined {
    if (nowMs < this.#nextProbeAtMs) return undefined;
    let due: SteeredHost | undefined;
    for (const host of this.#ejected) {
      if (host.probeUntilMs > 0 && nowMs < host.probeUntilMs) continue;
      if (nowMs >= host.probeAtMs && (due === undefined || host.probeAtMs < due.probeAtMs)) due = host;
    }
    if (due !== undefined) {
      due.probeUntilMs = nowMs + PROBE_LEASE_MS;
      due.reason = "ejected: a probe is under way";
    }
    this.#scheduleProbes();
    return due;
  }

  /** While calls are shed in a panic: whether this one goes to a survivor, to find out whether they are well again. */
  trial(nowMs: number): boolean {
    if (nowMs < this.#nextTrialAtMs) return false;
    this.#nextTrialAtMs = nowMs + PROBE_LEASE_MS;
    return true;
  }

  /** A call ended. True when the set of ejected hosts changed. */
  report(host: SteeredHost, succeeded: boolean, nowMs: number): boolean {
    this.#window.add(succeeded, nowMs);
    host.window.addBeside(this.#window, succeeded);
    if (succeeded) {
      host.consecutiveFailures = 0;
      host.consecutiveSuccesses++;
    } else {
      if (host.consecutiveFailures++ === 0) host.failingSinceMs = nowMs;
      host.consecutiveSuccesses = 0;
    }
    if (host.ejected) return this.#reportEjected(host, succeeded, nowMs);
    this.#survivors += ((succeeded ? 1 : 0) - this.#survivors) * SURVIVOR_WEIGHT;
    if (this.#panic) {
      this.#nextTrialAtMs = succeeded ? 0 : nowMs + TRIAL_PAUSE_MS;
      if (this.#survivors > CALM_ABOVE) this.#panic = false;
    } else if (this.#ejected.length > 0 && this.#survivors < PANIC_BELOW) {
      this.#panic = true;
    }
    if (succeeded) {
      if (host.onProbation && nowMs >= host.rampToMs && host.consecutiveSuccesses >= this.#parameters.min_calls) {
        host.onProbation = false;
      }
      return false;
    }
    const reason = this.#verdict(host, nowMs);
    if (reason === undefined) return false;
    this.#eject(host, reason, nowMs);
    return true;
  }

  #reportEjected(host: SteeredHost, succeeded: boolean, nowMs: number): boolean {
    const probed = host.probeUntilMs > 0;
    host.probeUntilMs = 0;
    if (succeeded && (probed || this.#panic)) {
      this.#readmit(host, nowMs);
      return true;
    }
    if (probed) {
      host.ejections++;
      this.#pause(host, "the last probe failed", nowMs);
    }
    return false;
  }

  /** Why the host is to be ejected after a failure, or undefined. */
  #verdict(host: SteeredHost, nowMs: number): string | undefined {
    const { consecutive_failures, min_calls, min_success_rate, outlier_deviations, max_ejected_share } =
      this.#parameters;
    if (this.#panic || !this.#somebodyElseIsHealthy(host)) return undefined;
    const { calls } = host.window;
    this.#window.advance(nowMs);
    const othersCalls = this.#window.calls - calls;
    const othersRate = othersCalls > 0 ? (this.#window.succ - host.window.succ) / othersCalls : 0;
    // While the others hardly ever fail, fewer failures in a row leave no doubt.
    const othersAreWell = othersRate >= WELL_RATE && othersCalls >= WELL_CALLS;
    const enough = othersAreWell ? Math.ceil(consecutive_failures * WELL_SHARE) : consecutive_failures;
    const lasting =
      othersAreWell && nowMs - host.failingSinceMs >= LASTING_MS
        ? Math.ceil(consecutive_failures * LASTING_SHARE)
        : enough;
    if (host.consecutiveFailures >= lasting) return `${host.consecutiveFailures} consecutive failures`;
    const cap = Math.max(1, Math.floor(max_ejected_share * this.#size));
    if (this.#ejected.length >= cap) return undefined;
    if (host.onProbation && othersRate > PROBATION_RATE) return "failed again after it was readmitted";
    if (calls < min_calls || host.window.err < 2) return undefined;
    const rate = host.window.succ / calls;
    if (othersRate - rate < MIN_RATE_DIFFERENCE) return undefined;
    // How many standard deviations of a fair draw lie between the two shares of successes (two-proportion z-test).
    const pooled = this.#window.succ / this.#window.calls;
    const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / calls + 1 / othersCalls));
    const distance = deviation > 0 ? (othersRate - rate) / deviation : 0;
    const percent = `${Math.round(rate * 100)} % of ${calls} calls succeeded, ${Math.round(othersRate * 100)} % of the others'`;
    // When the others fail as well, chance has more to play with.
    const doubt = othersRate > PROBATION_RATE ? 0 : SHARED_TROUBLE_DEVIATIONS;
    if (min_success_rate > 0 && rate < min_success_rate && distance > LOW_RATE_DEVIATIONS + doubt) return percent;
    if (outlier_deviations > 0 && distance > outlier_deviations + doubt) return percent;
    return undefined;
  }

  #somebodyElseIsHealthy(host: SteeredHost): boolean {
    for (let i = 0; i < this.#size; i++) {
      const other = this.#hosts!.made(i);
      if (
        other !== undefined &&
        other !== host &&
        !other.ejected &&
        other.consecutiveFailures === 0 &&
        other.consecutiveSuccesses > 0
      )
        return true;
    }
    return false;
  }

  #eject(host: SteeredHost, reason: string, nowMs: number): void {
    // A host that held for longer than it was out starts its count anew.
    const heldMs = nowMs - host.sinceMs;
    if (!host.onProbation && heldMs > 2 * this.#pauseMs(host)) host.ejections = 0;
    host.ejected = true;
    host.onProbation = false;
    host.sinceMs = nowMs;
    host.ejections++;
    host.probeUntilMs = 0;
    this.#window.remove(host.window, nowMs);
    host.window.clear();
    this.#ejected = [...this.#ejected, host];
    this.#pause(host, reason, nowMs);
  }

  #readmit(host: SteeredHost, nowMs: number): void {
    host.ejected = false;
    host.onProbation = true;
    host.sinceMs = nowMs;
    host.reason = "readmitted: its probe succeeded";
    this.#window.remove(host.window, nowMs);
    host.window.clear();
    host.rampFromMs = nowMs;
    host.rampToMs = nowMs + Math.min(READMISSION_RAMP_MS, this.#parameters.slow_start * 1000);
    this.#ejected = this.#ejected.filter((other) => other !== host);
    this.#scheduleProbes();
    if (this.#ejected.length === 0) this.#panic = false;
  }

  #pauseMs(host: SteeredHost): number {
    const { base_ejection, max_ejection } = this.#parameters;
    // 0: not known yet, which is not quiet.
    const quietPause = this.#picksPerSecond === 0 ? 0 : CALLS_BETWEEN_PROBES / this.#picksPerSecond;
    const first = Math.max(base_ejection, quietPause);
    const doubled = first * 2 ** Math.min(30, Math.max(0, host.ejections - 1));
    const cheap = Math.max(1, this.#ejected.length) / (PROBE_SHARE * Math.max(0.001, this.#picksPerSecond));
    return Math.min(doubled, max_ejection, Math.max(base_ejection, cheap)) * 1000;
  }

  #pause(host: SteeredHost, reason: string, nowMs: number): void {
    const jitter = 1 + PROBE_JITTER * (this.#random() - 0.5);
    host.probeAtMs = nowMs + this.#pauseMs(host) * jitter;
    host.reason = `ejected: ${reason}`;
    this.#scheduleProbes();
  }

  #scheduleProbes(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const host of this.#ejected) next = Math.min(next, Math.max(host.probeAtMs, host.probeUntilMs));
    this.#nextProbeAtMs = next;
  }
}

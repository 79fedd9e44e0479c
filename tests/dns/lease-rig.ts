// dns instances that share a database in memory, in virtual time: what they do about leases, and nothing else.
import type { Host } from "../../src/core/assignment.ts";
import type { LeaseTerms } from "../../src/core/lease.ts";
import type { HeartbeatAnswer } from "../../src/dns/lease-renewals.ts";
import { LeaseService } from "../../src/dns/lease-service.ts";
import { LeaseTime } from "../../src/dns/lease-time.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const anywhere = () => true;
const SVC = { who: "svc", requestId: "r" };

export class LeaseInstance {
  readonly log = new RecordingLog();
  readonly routes: RouteService;
  readonly leases: LeaseService;
  readonly #world: LeaseWorld;
  #cut = false;
  #dead = false;
  #hanging = false;

  constructor(world: LeaseWorld, name: string, max: number, writesAtOnce = false) {
    this.#world = world;
    const { store } = world;
    // Every instance has a monotonic clock of its own.
    const skewMs = name.length * 12_345_678;
    const clock: Clock = { nowMs: () => world.clock.nowMs() + skewMs, wallMs: () => world.clock.wallMs() };
    const guard = <T extends object>(target: T): T =>
      new Proxy(target, {
        get: (object, property) => {
          const value: unknown = Reflect.get(object, property);
          if (typeof value !== "function") return value;
          return (...parameters: unknown[]) => {
            if (this.#dead || this.#hanging) return new Promise(() => {});
            if (this.#cut) return Promise.reject(world.unreachable());
            return Reflect.apply(value as (...p: unknown[]) => unknown, object, parameters);
          };
        },
      });
    this.routes = new RouteService({
      store: guard(store),
      replica: new RouteReplica(),
      clock,
      log: this.log,
      fullReloadIntervalMs: () => 10_000,
      leaseMs: () => this.leases.time.known(),
    });
    const leaseStore = guard(store.leases);
    this.leases = new LeaseService({
      store: leaseStore,
      routes: this.routes,
      time: new LeaseTime(leaseStore, clock, name),
      clock,
      log: this.log,
      max: () => max,
      writesAtOnce,
    });
  }

  async start(): Promise<this> {
    await this.routes.poll();
    const { clock } = this.#world;
    this.leases.start((delayMs, run) =>
      clock.setTimer(delayMs, () => {
        if (!this.#dead) run();
      }),
    );
    await settle();
    return this;
  }
  /** SIGKILL: nothing more happens, nothing is written. */
  kill(): void {
    this.#dead = true;
  }
  /** The database takes what this instance says and never answers. */
  hang(): void {
    this.#hanging = true;
  }
  /** The link to the database. */
  cut(isCut = true): void {
    this.#cut = isCut;
  }
  async register(id: string, n: number, options: Partial<LeaseTerms> = {}) {
    const terms = { modid: 1, cmdid: 1, ip: n, port: 80, weight: 100, zone: "", state: "up", ttlMs: 10_000 } as const;
    return await this.leases.register({ ...terms, ...options, id }, anywhere, SVC);
  }
  async deregister(id: string) {
    return await this.leases.deregister(id, anywhere, SVC);
  }
  beat(id: string, may = anywhere as (modid: number) => boolean): Promise<HeartbeatAnswer> {
    return this.leases.renewals.heartbeat(id, may);
  }
  /** The outcome, time going on until there is one. */
  async beaten(id: string): Promise<string> {
    let outcome: string | undefined;
    void this.beat(id).then(
      (answer) => (outcome = answer.outcome),
      (error: Error) => (outcome = error.name),
    );
    for (let i = 0; i < 20 && outcome === undefined; i++) {
      await settle();
      if (outcome === undefined) await this.#world.pass(250);
    }
    return outcome ?? "no answer";
  }
  async hosts(modid = 1): Promise<readonly Host[]> {
    await this.routes.poll();
    return this.routes.replica.route(modid, 1)?.hosts ?? [];
  }
}

export class LeaseWorld {
  readonly store = new MemoryRouteStore();
  readonly clock = new ManualClock();
  unreachable(): Error {
    this.store.away("no route to the database");
    const { failure } = this.store;
    this.store.back();
    return failure!;
  }
  async start(name: string, max = 1_000): Promise<LeaseInstance> {
    return await new LeaseInstance(this, name, max).start();
  }
  async pass(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms);
  }
  /** Beats of `ids` every `everyMs` at whoever `at` says, for so long. Outcomes that are not "renewed". */
  async keep(ids: readonly string[], forMs: number, everyMs: number, at: () => LeaseInstance): Promise<string[]> {
    const others: string[] = [];
    for (let passed = 0; passed < forMs; passed += everyMs) {
      for (const id of ids) {
        void at()
          .beat(id)
          .then(
            ({ outcome }) => outcome !== "renewed" && others.push(`${id} ${outcome}`),
            (error: Error) => others.push(`${id} ${error.name}`),
          );
      }
      await this.pass(everyMs);
    }
    return others;
  }
  get ids(): string[] {
    return this.store.leases.all.map(({ id }) => id);
  }
}

// A dns that has no database but another dns: the parts of src/dns/follow put together, in the shape of a database, so
// that what is above need not know. See docs/zones.md.
import { type Clock, type SetTimer, systemTimer } from "../../platform/clock.ts";
import { exposeEvents } from "../../platform/event-counts.ts";
import type { Log } from "../../platform/log.ts";
import type { Metrics } from "../../platform/metrics-port.ts";
import type { TlsMaterial } from "../../platform/tls-material.ts";
import type { Database } from "../../store/database.ts";
import type { TokenStore } from "../../store/route-store.ts";
import { FollowStore } from "./follow-store.ts";
import { FollowerSnapshot } from "./follower-snapshot.ts";
import { KeptByLeader } from "./kept-by-leader.ts";
import { LeaderAddresses, type Lookup } from "./leader-addresses.ts";
import type { Ask } from "./leader-client.ts";
import { LeaderLink } from "./leader-link.ts";
import { LeaderMirror } from "./leader-mirror.ts";
import { SnapshotKeeper } from "./snapshot-keeper.ts";

export interface FollowSettings {
  readonly urls: readonly string[];
  readonly token: string;
  readonly wait_ms: number;
  readonly response_timeout_ms: number;
  readonly snapshot_interval_ms: number;
}

export interface FollowerOptions {
  /** Read anew at every use, but for the URLs. */
  readonly settings: () => FollowSettings;
  readonly snapshotPath: string;
  readonly ask: Ask;
  readonly lookup: Lookup;
  /** What leaders with https are believed by. */
  readonly tls: () => Pick<TlsMaterial, "ca" | "cert" | "key">;
  readonly clock: Clock;
  readonly setTimer?: SetTimer;
  readonly random?: () => number;
  readonly log: Log;
  /** Takes what arrived to where it is read: RouteService.poll. */
  readonly poll: () => Promise<void>;
}

export interface Follower extends Omit<Database, "dialect"> {
  readonly dialect: "leader";
  readonly link: LeaderLink;
  readonly snapshots: SnapshotKeeper;
}

export function openFollower(options: FollowerOptions): Follower {
  const { settings, clock, log, setTimer = systemTimer } = options;
  const { urls } = settings();
  const addresses = new LeaderAddresses(urls, options.lookup);
  const mirror = new LeaderMirror();
  const snapshot = new FollowerSnapshot(options.snapshotPath);
  const snapshots = new SnapshotKeeper({
    snapshot,
    routes: () => ({
      revision: mirror.revision,
      routes: [...mirror.served()],
      names: [...mirror.servedNames()],
      forgotten: mirror.forgotten,
    }),
    intervalMs: () => settings().snapshot_interval_ms,
    clock,
    setTimer,
    log: log.with({ component: "snapshot" }),
  });
  const loaded = Promise.withResolvers<void>();
  const link: LeaderLink = new LeaderLink({
    mirror,
    addresses: () => addresses.list(),
    ask: options.ask,
    token: () => settings().token,
    waitMs: () => settings().wait_ms,
    silenceMs: () => settings().response_timeout_ms,
    tls: options.tls,
    clock,
    setTimer,
    random: options.random ?? Math.random,
    log: log.with({ component: "follow" }),
    onDelta: (delta) => {
      store.put(delta);
      snapshots.changed();
      loaded.resolve();
      void options.poll();
    },
    onFailedRound: () => {
      // Nothing to serve yet: /readyz is to say why.
      if (!mirror.loaded) void options.poll();
    },
  });
  const store = new FollowStore(
    urls,
    () => link.failure,
    (removed) => mirror.forget(removed),
  );

  async function start(): Promise<void> {
    const load = await snapshot.load();
    if (load.outcome === "loaded") {
      mirror.restore(load.delta);
      store.put(load.delta);
      loaded.resolve();
      link.startsBehind(clock.wallMs() - load.savedAtMs);
      const { revision, routes } = load.delta;
      log.info("routes of the last run loaded", { path: snapshot.path, revision, modules: routes.length });
    } else if (load.outcome === "bad") {
      log.error("the routes of the last run are put aside", { path: snapshot.path, reason: load.reason });
    }
    link.start();
  }

  let started: Promise<void> | undefined;
  return {
    dialect: "leader",
    routes: store,
    tokens: tokensOf(urls),
    reports: elsewhere(urls),
    link,
    snapshots,
    /** Resolves when there is something to serve: of the last run, or of a leader. */
    async migrate() {
      started ??= start();
      await started;
      await loaded.promise;
    },
    async ping() {
      await store.head();
    },
    async close() {
      await started;
      await link.stop();
      await snapshots.stop();
    },
  };
}

/** There are no tokens here but the configured one. */
function tokensOf(leaders: readonly string[]): TokenStore {
  return {
    list: async () => [],
    insert: async () => false,
    remove: async () => {
      throw new KeptByLeader(leaders);
    },
    noteUses: async () => {},
  };
}

/** A store that is in the leader's database: all that is asked of it is refused. */
function elsewhere<Store extends object>(leaders: readonly string[]): Store {
  const refuse = async (): Promise<never> => {
    throw new KeptByLeader(leaders);
  };
  return new Proxy({}, { get: () => refuse }) as Store;
}

export function exposeFollower(metrics: Metrics, { link, snapshots }: Follower): void {
  metrics.gaugeFrom("follow_connected", "1 while a leader answers with something to serve", () =>
    link.connected ? 1 : 0,
  );
  metrics.gaugeFrom(
    "follow_lag_seconds",
    "Since what is served was known to be what a leader has; up to follow.wait_ms while connected",
    () => link.lagMs / 1000,
  );
  metrics.gaugeFrom("follow_leader_revision", "Revision of the leader that was asked last", () => link.leaderRevision);
  exposeEvents(metrics, "follow_events_total", "Questions to leaders and what came of them", link.counts);
  exposeEvents(metrics, "follow_snapshot_events_total", "Writes of the routes to disk", snapshots.counts);
}

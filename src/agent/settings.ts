// From the configuration as operators write it to what shards work with.
import type { AgentConfig } from "./config.ts";
import type { ShardSettings } from "./shard-protocol.ts";

/** Numbers nobody asked for, remembered as unknown per shard: a bound on what invented requests can cost. */
const MAX_UNKNOWN_PER_SHARD = 16_384;
/** New module numbers a second and shard; ten seconds' worth may come at once, as they do when an agent starts cold. */
const MAX_NEW_PER_SECOND = 2000;

export function shardSettings(config: AgentConfig): ShardSettings {
  const { routes, loadbalance, steering, udp } = config;
  const { policy, update_timeout, ...lars } = loadbalance;
  return {
    balancer: { policy, lars, steering, zone: config.zone.name },
    limits: {
      // Modules spread unevenly over shards; twice the even share is room enough.
      maxModules: Math.ceil((routes.max_modules * 2) / udp.shards),
      maxUnknown: MAX_UNKNOWN_PER_SHARD,
      maxWaiting: Math.ceil(routes.max_waiting / udp.shards),
      maxNewPerSecond: MAX_NEW_PER_SECOND,
      resolveTimeoutMs: routes.resolve_timeout_ms,
      negativeTtlMs: routes.negative_ttl_ms,
      updateTimeoutMs: update_timeout * 1000,
      forgetAfterMs: routes.forget_after_s * 1000,
    },
  };
}

// Which shard of an agent owns a module. Deployed clients compute (modid + cmdid) % 3 in C's int arithmetic to choose a
// port, so ours is the same sum, with the remainder made non-negative; where a client's own remainder came out
// negative it asks some other shard, and that one forwards.

/** 0 to shards - 1. */
export function shardOf(modid: number, cmdid: number, shards: number): number {
  const remainder = ((modid + cmdid) | 0) % shards;
  return remainder < 0 ? remainder + shards : remainder;
}

/** The number of the one that is no worker: the main thread, which has what others lend it. */
export function mainShard(shards: number): number {
  return shards;
}

// What a server that accepts connections is good for. In a cluster, to accept a connection says little: a Galera node that
// was cut off from the others, or is still being filled, takes connections and refuses every statement; one that gives
// its data to a joiner may stand still for that long; a replica takes reads and refuses writes. Asked by SHOW alone, which
// every server of the family knows, and which none of those states forbids.

export const SERVES = 0;
/** Its state is being copied to another node, which may hold it up. */
export const DONATES = 1;
/** Reads only. */
export const READS = 2;
export const REFUSES = 3;

/** Less is better. */
export type NodeRank = typeof SERVES | typeof DONATES | typeof READS | typeof REFUSES;

export interface NodeState {
  readonly rank: NodeRank;
  /** Writes reach it from other nodes too, and may be a moment behind. */
  readonly replicates: boolean;
  /** It is a MariaDB and runs blocks of statements that nobody stored (BEGIN NOT ATOMIC). */
  readonly takesBlocks: boolean;
  /** Why it is not {@link SERVES}, or "". */
  readonly reason: string;
}

export const VARIABLES_QUERY =
  "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_on', 'read_only', 'super_read_only', 'version')";
export const STATUS_QUERY =
  "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', 'wsrep_local_state')";

const DONOR = "2";
const SYNCED = "4";

export function isOn(value: string | undefined): boolean {
  return value === "1" || value?.toUpperCase() === "ON";
}

export function replicates(variables: ReadonlyMap<string, string>): boolean {
  return isOn(variables.get("wsrep_on"));
}

/** `status` counts only where {@link replicates} is true. Names in lower case. */
export function judgeNode(variables: ReadonlyMap<string, string>, status: ReadonlyMap<string, string>): NodeState {
  const galera = replicates(variables);
  const takesBlocks = variables.get("version")?.includes("MariaDB") === true;
  const is = (rank: NodeRank, reason: string): NodeState => ({ rank, replicates: galera, takesBlocks, reason });
  if (galera) {
    const cluster = status.get("wsrep_cluster_status");
    if (cluster !== "Primary") return is(REFUSES, `its part of the cluster is ${cluster}, not Primary`);
    if (!isOn(status.get("wsrep_ready"))) return is(REFUSES, "wsrep_ready is OFF: it is not ready yet");
    const state = status.get("wsrep_local_state");
    if (state !== SYNCED && state !== DONOR) return is(REFUSES, `it is not synced yet (wsrep_local_state ${state})`);
    if (state === DONOR) return is(DONATES, "it gives its state to another node");
  }
  const readOnly = ["read_only", "super_read_only"].filter((name) => isOn(variables.get(name)));
  return readOnly.length > 0 ? is(READS, `${readOnly.join(" and ")} is ON`) : is(SERVES, "");
}

// Which of several database nodes a process works with. All of its reads and writes go to one node, and every process
// takes the nodes in the same order of preference: so all writers meet on one node, where they wait for each other in
// line, instead of on several, where a cluster lets them run into each other and throws all but one away.
//
// Leaving a node is quick, because it does not serve. Going back to a better one is slow: only when it was found usable
// over a while, or a node that comes and goes would take everybody along each time. A better kind of node (one that
// takes writes, where the present one does not) is taken at once.
//
// Time comes in as an argument; who connects and asks is src/store/mysql/connection-pool.ts.
import { type NodeRank, REFUSES, SERVES } from "./node-state.ts";

interface Node {
  rank: NodeRank | undefined;
  /** Found usable, at this rank, since. */
  sinceMs: number;
  /** It did not serve when it was last asked. */
  failed: boolean;
}

export class NodeChoice {
  readonly #nodes: Node[];
  readonly #steadyMs: number;
  #current: number | undefined;

  /** `steadyMs`: how long a preferred node must have been usable before it is gone back to. */
  constructor(count: number, steadyMs: number) {
    this.#nodes = Array.from({ length: count }, () => ({ rank: undefined, sinceMs: 0, failed: false }));
    this.#steadyMs = steadyMs;
  }

  /** The node in use. undefined: none, one is to be found among {@link candidates}. */
  get current(): number | undefined {
    return this.#current;
  }

  /** The node in use serves, but not as well as a node can. */
  get isSecondRate(): boolean {
    return this.#current !== undefined && (this.#nodes[this.#current]!.rank ?? SERVES) > SERVES;
  }

  /** All nodes in the order in which to ask them: by preference, those that failed last time after all others. */
  candidates(): number[] {
    return [...this.#nodes.keys()].sort(
      (a, b) => Number(this.#nodes[a]!.failed) - Number(this.#nodes[b]!.failed) || a - b,
    );
  }

  /** Nodes that may be better than the one in use: preferred ones, or all while it is not of the best kind. */
  better(): number[] {
    const current = this.#current;
    if (current === undefined) return [];
    return [...this.#nodes.keys()].filter((i) => i < current || (i > current && this.isSecondRate));
  }

  take(index: number, rank: NodeRank, nowMs: number): void {
    this.#note(index, rank, nowMs);
    this.#current = index;
  }

  /** It does not serve. */
  lose(index: number): void {
    this.#nodes[index]!.rank = undefined;
    this.#nodes[index]!.failed = true;
    if (this.#current === index) this.#current = undefined;
  }

  /** What a node said when it was asked. True: it is now the one in use, and was not before. */
  asked(index: number, rank: NodeRank, nowMs: number): boolean {
    if (rank === REFUSES) {
      this.lose(index);
      return false;
    }
    this.#note(index, rank, nowMs);
    const current = this.#current;
    if (current === undefined || current === index) return false;
    const inUse = this.#nodes[current]!.rank ?? SERVES;
    const steady = nowMs - this.#nodes[index]!.sinceMs >= this.#steadyMs;
    if (!(rank < inUse || (rank === inUse && index < current && steady))) return false;
    this.#current = index;
    return true;
  }

  #note(index: number, rank: NodeRank, nowMs: number): void {
    const node = this.#nodes[index]!;
    if (node.failed || node.rank !== rank) node.sinceMs = nowMs;
    node.rank = rank;
    node.failed = false;
  }
}

// Routes to agents over TCP: the answer to a request, and every later change of what was asked for.
//
// What is owed to an agent is a set of modules, not a queue of messages: a change marks the module for each of its
// watchers, and when a connection takes bytes, the module's route as it is then is sent. An agent that reads slowly
// misses intermediate steps and nothing else, and what it can cost us is bounded by what it watches. A request is
// answered the same way, so a hundred requests for one module in a row are one answer. An agent that says which revision
// it has, as all do when they reconnect, and has the newest is told just that.
//
// Work is done in slices: after so many watchers marked, frames or bytes the event loop gets its turn, so that pushing a
// change to fifteen thousand agents does not hold up the reads of anybody else, however long the route is.
import { FlapDamping } from "../core/flap-damping.ts";
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { RouteRecord } from "../core/route-change.ts";
import { WatchIndex } from "../core/watch-index.ts";
import type { SetTimer } from "../platform/clock.ts";
import { MSG_GET_ROUTE_REQUEST, MSG_UNWATCH_ROUTE_REQUEST } from "../wire/frame.ts";
import { decodeGetRouteRequest, encodeGetRouteResponse, makeGetRouteRequest } from "../wire/route-codec.ts";
import { RouteFrames } from "./route-frames.ts";
import type { RouteReplica, TouchedHosts } from "./route-replica.ts";

/** What is needed of a TCP connection. */
export interface AgentConnection {
  readonly id: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The connection takes bytes; when not, `onDrain` is called once it does. */
  readonly writable: boolean;
  send(bytes: Uint8Array): boolean;
  close(): void;
}

export interface RoutePushOptions {
  readonly replica: RouteReplica;
  /** False while the routes were never loaded: requests are kept then and answered later, not with "no such module". */
  readonly loaded: () => boolean;
  readonly maxWatchesPerConnection: number;
  /** Of all connections together; and so many requests beyond that wait for their answer. */
  readonly maxWatches: number;
  /** Runs the function after the I/O that is waiting now (setImmediate). */
  readonly defer: (work: () => void) => void;
  readonly nowMs: () => number;
  /** For hosts that are left out because they flap, and are told of when they have stayed. Absent: none is left out. */
  readonly setTimer?: SetTimer;
}

/** How often it is looked whether a flapping host has stayed for long enough. */
const RELEASE_MS = 500;
/** Frames and bytes sent before the event loop gets its turn: a millisecond or two. */
const SLICE_FRAMES = 256;
const SLICE_BYTES = 1_048_576;
/** Watchers marked: as many as are sent to, for what waits longer makes the heap grow (by 20 MB with 1,024). */
const SLICE_MARKS = SLICE_FRAMES;

interface Owed extends ModuleKey {
  /** The revision the agent says it has; 0: it did not say; CHANGED: the module changed since. */
  readonly held: number;
}

/** Older than anything: of a module that changed something was known, so one that is not known any more was removed. */
const CHANGED = -1;

interface Agent {
  readonly connection: AgentConnection;
  readonly connectedAtMs: number;
  /** Modules whose route is to be sent. */
  readonly owed: ModuleMap<Owed>;
  /** One of ours, which connects again whenever it loses its connection; a C++ agent may never. */
  returns: boolean;
}

/** A change that is being marked for who watches the module. */
interface Marking extends ModuleKey {
  /** Goes on where it was left: a Set's iterator is not ended by a loop that is. */
  readonly watchers: IterableIterator<Agent>;
  /** It changed again meanwhile; those marked first may have been sent what it was before. */
  again: boolean;
}

/** A connected agent, for people. */
export interface AgentDescription {
  readonly address: string;
  readonly connectedMs: number;
  readonly modules: number;
  /** Changes of modules it watches that were not sent yet. */
  readonly behind: number;
}

export class RoutePush {
  readonly #options: RoutePushOptions;
  readonly #watches = new WatchIndex<Agent>();
  readonly #agents = new Map<AgentConnection, Agent>();
  /** Agents that are owed something and take bytes. */
  readonly #sendable = new Set<Agent>();
  readonly #marking = new ModuleMap<Marking>();
  readonly #damping = new FlapDamping();
  readonly #frames = new RouteFrames(this.#damping);
  #releasing: (() => void) | undefined;
  /** Of all agents. */
  #owed = 0;
  readonly #request = makeGetRouteRequest();
  #scheduled = false;
  readonly counts = {
    requests: 0,
    frames: 0,
    unchanged: 0,
    pushes: 0,
    spared: 0,
    malformed: 0,
    unknownFrames: 0,
    oversize: 0,
    overLimit: 0,
    overTotal: 0,
    unanswered: 0,
    dismissed: 0,
  };

  constructor(options: RoutePushOptions) {
    this.#options = options;
  }

  get watches(): number {
    return this.#watches.size;
  }

  /** Answers and changes that wait until their agents read. */
  get owed(): number {
    return this.#owed;
  }

  /** Hosts left out because they flap. */
  get leftOut(): number {
    return this.#damping.leftOut;
  }

  get agentCount(): number {
    return this.#agents.size;
  }

  /** Each as it is when it is asked for; agents may come and go in between. */
  *agents(): IterableIterator<AgentDescription> {
    for (const agent of this.#agents.values()) {
      yield {
        address: `${agent.connection.remoteAddress}:${agent.connection.remotePort}`,
        connectedMs: this.#options.nowMs() - agent.connectedAtMs,
        modules: this.#watches.countOf(agent),
        behind: agent.owed.size,
      };
    }
  }

  onOpen(connection: AgentConnection): void {
    const connectedAtMs = this.#options.nowMs();
    this.#agents.set(connection, { connection, connectedAtMs, owed: new ModuleMap(), returns: false });
  }

  /**
   * Closes connections of agents that were there before `beforeMs` and are known to come back, at most `limit` of them.
   * Returns how many.
   */
  dismiss(beforeMs: number, limit: number): number {
    const leaving: AgentConnection[] = [];
    for (const { connection, connectedAtMs, returns } of this.#agents.values()) {
      if (leaving.length >= limit) break;
      if (returns && connectedAtMs < beforeMs) leaving.push(connection);
    }
    for (const connection of leaving) connection.close();
    this.counts.dismissed += leaving.length;
    return leaving.length;
  }

  onClose(connection: AgentConnection): void {
    const agent = this.#agents.get(connection);
    if (agent === undefined) return;
    this.#agents.delete(connection);
    this.#owed -= agent.owed.size;
    this.#sendable.delete(agent);
    this.#watches.drop(agent);
  }

  onDrain(connection: AgentConnection): void {
    const agent = this.#agents.get(connection);
    if (agent !== undefined) this.#makeSendable(agent);
  }

  onFrame(connection: AgentConnection, msgid: number, body: Uint8Array): void {
    const agent = this.#agents.get(connection);
    if (agent === undefined) return;
    if (msgid !== MSG_GET_ROUTE_REQUEST && msgid !== MSG_UNWATCH_ROUTE_REQUEST) {
      this.counts.unknownFrames++;
      return;
    }
    const request = this.#request;
    if (!decodeGetRouteRequest(body, 0, body.length, request)) {
      this.counts.malformed++;
      return;
    }
    const { modid, cmdid, revision } = request;
    if (msgid === MSG_UNWATCH_ROUTE_REQUEST) {
      this.#watches.unwatch(agent, modid, cmdid);
      if (agent.owed.delete(modid, cmdid)) this.#owed--;
      return;
    }
    this.counts.requests++;
    // Only ours say what they hold; they ask again every few seconds, so this is soon known.
    if (revision > 0) agent.returns = true;
    if (!this.#watch(agent, request) && !this.#mayAnswer(agent, request)) {
      this.counts.unanswered++;
      return;
    }
    // What changed and was not sent yet has changed all the same.
    const isChanged = agent.owed.get(modid, cmdid)?.held === CHANGED;
    this.#owe(agent, { modid, cmdid, held: isChanged ? CHANGED : revision });
  }

  /** False: it watches so many, or all do, that this one is answered now and not told of later. */
  #watch(agent: Agent, { modid, cmdid }: ModuleKey): boolean {
    const { maxWatches, maxWatchesPerConnection } = this.#options;
    if (this.#watches.has(agent, modid, cmdid)) return true;
    if (this.#watches.countOf(agent) >= maxWatchesPerConnection) this.counts.overLimit++;
    else if (this.#watches.size >= maxWatches) this.counts.overTotal++;
    else return this.#watches.watch(agent, modid, cmdid);
    return false;
  }

  /** An agent over a limit may ask without end and read nothing; so may all together. */
  #mayAnswer(agent: Agent, { modid, cmdid }: ModuleKey): boolean {
    const { maxWatches, maxWatchesPerConnection } = this.#options;
    if (agent.owed.has(modid, cmdid)) return true;
    return agent.owed.size < maxWatchesPerConnection && this.#owed < maxWatches;
  }

  /** To be called with every change that reached the replica. */
  onChange(routes: readonly RouteRecord[], touched?: TouchedHosts): void {
    const nowMs = this.#options.nowMs();
    for (const route of routes) {
      const keys = touched?.get(route.modid, route.cmdid);
      if (this.#options.setTimer === undefined || this.#damping.onRoute(route, nowMs, keys)) this.#push(route);
      else this.counts.spared++;
    }
    this.#awaitRelease();
  }

  #push({ modid, cmdid }: ModuleKey): void {
    const marking = this.#marking.get(modid, cmdid);
    if (marking !== undefined) {
      marking.again = true;
      return;
    }
    const watchers = this.#watches.watchersOf(modid, cmdid);
    if (watchers.size === 0) return;
    this.#marking.set(modid, cmdid, { modid, cmdid, watchers: watchers.values(), again: false });
    this.#schedule();
  }

  /** Marks what changed for so many watchers at most. */
  #mark(most: number): void {
    let left = most;
    for (const marking of this.#marking.values()) {
      const { modid, cmdid, watchers, again } = marking;
      const owed = { modid, cmdid, held: CHANGED };
      for (const agent of watchers) {
        this.counts.pushes++;
        this.#owe(agent, owed);
        if (--left === 0) return;
      }
      this.#marking.delete(modid, cmdid);
      if (again) this.#push(marking);
    }
  }

  #awaitRelease(): void {
    const { setTimer, nowMs } = this.#options;
    if (setTimer === undefined || this.#releasing !== undefined || this.#damping.remembered === 0) return;
    this.#releasing = setTimer(RELEASE_MS, () => {
      this.#releasing = undefined;
      for (const route of this.#damping.release(nowMs())) this.#push(route);
      this.#awaitRelease();
    });
  }

  /** Ends its timer. */
  stop(): void {
    this.#releasing?.();
  }

  /** To be called when the routes were loaded for the first time: answers what was asked before. */
  onLoaded(): void {
    for (const agent of this.#agents.values()) this.#makeSendable(agent);
  }

  #owe(agent: Agent, owed: Owed): void {
    const before = agent.owed.size;
    agent.owed.set(owed.modid, owed.cmdid, owed);
    this.#owed += agent.owed.size - before;
    this.#makeSendable(agent);
  }

  #makeSendable(agent: Agent): void {
    if (agent.owed.size === 0 || !agent.connection.writable || !this.#options.loaded()) return;
    this.#sendable.add(agent);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.defer(() => {
      this.#scheduled = false;
      this.#mark(SLICE_MARKS);
      this.#send();
      if (this.#sendable.size + this.#marking.size > 0) this.#schedule();
    });
  }

  #send(): void {
    const left = { frames: SLICE_FRAMES, bytes: SLICE_BYTES };
    for (const agent of this.#sendable) {
      this.#sendable.delete(agent);
      this.#sendTo(agent, left);
      if (agent.owed.size > 0 && agent.connection.writable) this.#sendable.add(agent);
      if (left.frames <= 0 || left.bytes <= 0) break;
    }
  }

  #sendTo(agent: Agent, left: { frames: number; bytes: number }): void {
    for (const owed of agent.owed.values()) {
      if (left.frames <= 0 || left.bytes <= 0 || !agent.connection.writable) break;
      agent.owed.delete(owed.modid, owed.cmdid);
      this.#owed--;
      const frame = this.#frame(owed);
      left.frames--;
      left.bytes -= frame.length;
      this.counts.frames++;
      agent.connection.send(frame);
    }
  }

  #frame({ modid, cmdid, held }: Owed): Uint8Array {
    const { replica } = this.#options;
    const route = replica.route(modid, cmdid);
    if (route === undefined) {
      // Not meant where nobody ever took hosts away: this may be the wrong database. It is where somebody did and that is
      // forgotten. Never without a revision, by which agents know that this server says when something is meant.
      const meant = held !== 0 && held <= replica.forgotten;
      // As late as the removal may have been and no later: another instance may remember when it was.
      const revision = Math.max(1, meant ? replica.forgotten : replica.revision);
      return encodeGetRouteResponse({ modid, cmdid, revision, hosts: [], meant }).frame;
    }
    const frame = this.#frames.of(route);
    this.counts.oversize = this.#frames.oversize;
    const { revision } = route;
    if (held !== revision || !this.#frames.isWhole(route)) return frame;
    this.counts.unchanged++;
    return encodeGetRouteResponse({ modid, cmdid, revision, hosts: [], unchanged: true }).frame;
  }
}

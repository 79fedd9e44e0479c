// The shards as the main thread sees them: started, fed with routes, asked, and started again when one dies. All that a
// worker cannot afford to lose is outside of it: routes are kept by the main thread, statistics and counters are shared
// memory, so a successor goes on where its predecessor was, within milliseconds and without a call uncounted.
import { backoffDelay } from "../core/backoff.ts";
import { StatisticsReader } from "../core/call-statistics.ts";
import { mainShard, shardOf } from "../core/shard-map.ts";
import { closeUdp, type OpenUdp, openUdp, ring } from "../net/udp-batch.ts";
import type { Log } from "../platform/log.ts";
import { LentModules, withTotals } from "./lent-modules.ts";
import { PICK_ANSWER_NUMBERS, readPickAnswer } from "./pick-batch.ts";
import { ShardCounters } from "./shard-counters.ts";
import type { DescriptionPiece, ModuleDescription } from "./shard-description.ts";
import { announce, type DoorbellState, makeDoorbellState } from "./shard-doorbell.ts";
import type { ResolveAnswer, RouteUpdate } from "./shard-modules.ts";
import type { PeerPort } from "./shard-peers.ts";
import type { CallReport, FromShard, PickAnswer, ShardSettings, ToShard } from "./shard-protocol.ts";

export interface ShardPoolOptions {
  readonly shards: number;
  readonly hostname: string;
  /** Shard i listens on port + i; 0: each on some free port. */
  readonly port: number;
  readonly receiveBufferBytes: number;
  readonly maxStatisticsEntries: number;
  readonly settings: ShardSettings;
  readonly log: Log;
  /** All routes known, for a shard that starts. */
  readonly routes: () => Iterable<RouteUpdate>;
  readonly onWant: (modid: number, cmdid: number) => void;
  readonly onForget: (modid: number, cmdid: number) => void;
}

/** Requests of the main thread that wait for a shard. */
const MAX_PENDING = 65_536;
/** Longer than any wait for a route, short enough for a caller. */
const PENDING_TIMEOUT_MS = 2000;
/** Routes per message, and about as many hosts, so that a shard answers datagrams in between. */
const ROUTES_PER_MESSAGE = 100;
const HOSTS_PER_MESSAGE = 2000;

type Answer = PickAnswer | ResolveAnswer | DescriptionPiece | undefined;

interface Pending {
  readonly deadlineMs: number;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

interface Slot {
  readonly index: number;
  worker: Worker | undefined;
  readonly counters: ShardCounters;
  readonly statistics: StatisticsReader;
  readonly pending: Map<number, Pending>;
  /** Picks to be sent when this turn of the event loop is over and the batch before was taken up (pick-batch.ts). */
  readonly picks: number[];
  picksUnderWay: boolean;
  /** Reports of this turn of the event loop. They leave with its end, or before whatever else is posted. */
  reports: CallReport[];
  ready: boolean;
  port: number;
  receiveBufferBytes: number;
  /** Bound once for all workers this slot will have; undefined where each binds one of Bun's. */
  socket: OpenUdp | undefined;
  doorbell: DoorbellState;
  restarts: number;
  /** Deaths since it last ran for a while. */
  attempt: number;
  startedAtMs: number;
  stopped: (() => void) | undefined;
  failure: string;
}

/** A shard did not answer: it is being restarted, or is overwhelmed. */
export class ShardUnavailable extends Error {
  override name = "ShardUnavailable";
}

export class ShardPool {
  readonly #options: ShardPoolOptions;
  #settings: ShardSettings;
  readonly #slots: Slot[] = [];
  #nextId = 1;
  #stopping = false;
  #flushScheduled = false;
  /** Asked for over HTTP only: picked from here. */
  readonly lentModules: LentModules;
  readonly #flush = (): void => this.#sendAll();
  readonly #sweeper: Timer;
  #startup: { resolve(): void; reject(error: Error): void } | undefined;

  constructor(options: ShardPoolOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.lentModules = new LentModules({
      shards: options.shards,
      settings: options.settings,
      maxStatisticsEntries: options.maxStatisticsEntries,
      output: {
        ask: (shard, modid, cmdid) => this.#post(this.#slots[shard]!, { type: "lend", modid, cmdid }),
        giveBack: (shard, modid, cmdid, back) =>
          this.#post(this.#slots[shard]!, { type: "returned", modid, cmdid, back }),
        counted: (shard, calls) => this.#post(this.#slots[shard]!, { type: "counted", calls }),
        used: (shard, modules) => this.#post(this.#slots[shard]!, { type: "used", modules }),
      },
      nowMs: () => performance.now(),
      random: Math.random,
      defer: (run) => setImmediate(run),
    });
    this.#sweeper = setInterval(() => this.#sweep(), 250);
  }

  /** Resolves when every shard has its socket. @throws when one cannot be bound: nothing useful runs then. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#startup = { resolve, reject };
      for (let index = 0; index < this.#options.shards; index++) {
        this.#slots.push({
          index,
          worker: undefined,
          counters: new ShardCounters(),
          statistics: new StatisticsReader(),
          pending: new Map(),
          picks: [],
          picksUnderWay: false,
          reports: [],
          ready: false,
          port: 0,
          receiveBufferBytes: 0,
          socket: undefined,
          doorbell: makeDoorbellState(),
          restarts: 0,
          attempt: 0,
          startedAtMs: 0,
          stopped: undefined,
          failure: "",
        });
      }
      try {
        for (const slot of this.#slots) this.#open(slot);
      } catch (error) {
        this.#closeSockets();
        reject(error);
        return;
      }
      for (const slot of this.#slots) this.#spawn(slot);
    });
  }

  /** The socket outlives the worker: what callers send while one is being replaced waits for its successor. */
  #open(slot: Slot): void {
    const { hostname, port, receiveBufferBytes } = this.#options;
    slot.socket = openUdp(hostname, port === 0 ? 0 : port + slot.index, receiveBufferBytes);
  }

  #closeSockets(): void {
    for (const slot of this.#slots) {
      if (slot.socket !== undefined) closeUdp(slot.socket);
      slot.socket = undefined;
    }
  }

  #spawn(slot: Slot): void {
    const { hostname, port, shards, receiveBufferBytes, maxStatisticsEntries, log } = this.#options;
    slot.doorbell = makeDoorbellState();
    const worker = new Worker(new URL("./shard-worker.ts", import.meta.url).href);
    slot.worker = worker;
    slot.startedAtMs = performance.now();
    worker.onmessage = (event) => this.#receive(slot, event.data as FromShard, slot.worker === worker);
    worker.onerror = (event) => log.error("a shard failed", { shard: slot.index, error: event.message });
    worker.addEventListener("close", () => {
      if (slot.worker === worker) this.#died(slot);
    });
    this.#post(slot, {
      type: "start",
      index: slot.index,
      shards,
      hostname,
      port: port === 0 ? slot.port : port + slot.index,
      receiveBufferBytes,
      socket: slot.socket,
      doorbell: slot.doorbell,
      settings: this.#settings,
      blocks: slot.statistics.blocks(),
      maxStatisticsEntries,
      counters: slot.counters.values,
    });
    for (const peer of this.#slots) {
      if (peer === slot || peer.worker === undefined) continue;
      const { port1, port2 } = new MessageChannel();
      this.#post(slot, { type: "peer", shard: peer.index, port: port1, ...bellOf(peer) }, [port1]);
      this.#post(peer, { type: "peer", shard: slot.index, port: port2, ...bellOf(slot) }, [port2]);
    }
    const { port1, port2 } = new MessageChannel();
    const main = { type: "peer", shard: mainShard(shards), socket: undefined, doorbell: makeDoorbellState() } as const;
    this.#post(slot, { ...main, port: port1 }, [port1]);
    this.lentModules.connect(slot.index, port2 as unknown as PeerPort, () => this.#ring(slot));
    this.#sendRoutes(slot, this.#options.routes());
  }

  #sendRoutes(slot: Slot, routes: Iterable<RouteUpdate>): void {
    let batch: RouteUpdate[] = [];
    let hosts = 0;
    for (const route of routes) {
      if (this.#owner(route.modid, route.cmdid) !== slot) continue;
      batch.push(route);
      hosts += route.hosts.length;
      if (batch.length === ROUTES_PER_MESSAGE || hosts >= HOSTS_PER_MESSAGE) {
        this.#post(slot, { type: "routes", routes: batch });
        batch = [];
        hosts = 0;
      }
    }
    if (batch.length > 0) this.#post(slot, { type: "routes", routes: batch });
  }

  /** False: there is nobody now. */
  #post(slot: Slot, message: ToShard, transfer: Bun.Transferable[] = []): boolean {
    if (slot.worker === undefined) return false;
    this.#sendReportsTo(slot);
    slot.worker.postMessage(message, transfer);
    this.#ring(slot);
    return true;
  }

  #ring(slot: Slot): void {
    announce(slot.doorbell, () => {
      if (slot.socket !== undefined) ring(slot.socket);
    });
  }

  #owner(modid: number, cmdid: number): Slot {
    return this.#slots[shardOf(modid, cmdid, this.#options.shards)]!;
  }

  #receive(slot: Slot, message: FromShard, isAlive: boolean): void {
    if (message instanceof Int32Array) {
      for (let at = 0; at < message.length; at += PICK_ANSWER_NUMBERS) {
        this.#resolve(slot, message[at]!, readPickAnswer(message, at));
      }
      slot.picksUnderWay = false;
      this.#sendPicksTo(slot);
      return;
    }
    switch (message.type) {
      case "ready":
        slot.ready = true;
        slot.port = message.port;
        slot.receiveBufferBytes = message.receiveBufferBytes;
        if (this.#slots.every(({ ready }) => ready)) {
          this.#startup?.resolve();
          this.#startup = undefined;
        }
        break;
      case "failed":
        slot.failure = message.message;
        this.#startup?.reject(new Error(message.message));
        this.#startup = undefined;
        slot.worker?.terminate();
        break;
      case "block":
        slot.statistics.addBlock(message.block);
        break;
      case "want":
        this.#options.onWant(message.modid, message.cmdid);
        break;
      case "forget":
        if (isAlive) this.lentModules.forgotten(message.modid, message.cmdid);
        this.#options.onForget(message.modid, message.cmdid);
        break;
      case "lent":
        // A dead shard's word binds nobody: its successor has the module.
        if (isAlive) this.lentModules.lent(message.modid, message.cmdid, message.granted);
        break;
      case "recall":
        if (isAlive) this.lentModules.recall(message.modid, message.cmdid);
        break;
      case "resolved":
        this.#resolve(slot, message.id, message.answer);
        break;
      case "described":
        this.#resolve(slot, message.id, message.piece);
        break;
      case "log":
        this.#options.log[message.level](message.message, { shard: slot.index, ...message.fields });
        break;
      case "stopped":
        slot.stopped?.();
        break;
    }
  }

  #resolve(slot: Slot, id: number, answer: Answer): void {
    const pending = slot.pending.get(id);
    slot.pending.delete(id);
    pending?.resolve(answer);
  }

  #died(slot: Slot): void {
    slot.worker = undefined;
    slot.ready = false;
    for (const pending of slot.pending.values()) {
      pending.reject(new ShardUnavailable(`shard ${slot.index} was restarted; ask again`));
    }
    slot.pending.clear();
    slot.picks.length = 0;
    slot.picksUnderWay = false;
    slot.reports = [];
    this.lentModules.lost(slot.index);
    slot.stopped?.();
    if (this.#stopping) return;
    const ranMs = performance.now() - slot.startedAtMs;
    slot.attempt = ranMs > 10_000 ? 0 : slot.attempt + 1;
    slot.restarts++;
    // The first successor at once: callers wait for it.
    const delayMs = slot.attempt <= 1 ? 0 : backoffDelay(slot.attempt, { baseMs: 50, maxMs: 5000 }, Math.random());
    this.#options.log.error("a shard's worker died and is restarted", {
      shard: slot.index,
      ranMs: Math.round(ranMs),
      restarts: slot.restarts,
      delayMs: Math.round(delayMs),
      cause: slot.failure,
    });
    setTimeout(() => {
      if (!this.#stopping) this.#spawn(slot);
    }, delayMs);
  }

  #ask(slot: Slot, send: (id: number) => void): Promise<Answer> {
    if (slot.worker === undefined || slot.pending.size >= MAX_PENDING) {
      return Promise.reject(new ShardUnavailable(`shard ${slot.index} cannot answer now; ask again`));
    }
    // An id travels as 32 bits.
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0x7fff_ffff;
    return new Promise((resolve, reject) => {
      slot.pending.set(id, { deadlineMs: performance.now() + PENDING_TIMEOUT_MS, resolve, reject });
      send(id);
    });
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  #sendAll(): void {
    this.#flushScheduled = false;
    for (const slot of this.#slots) {
      this.#sendReportsTo(slot);
      this.#sendPicksTo(slot);
    }
  }

  #sendReportsTo(slot: Slot): void {
    if (slot.reports.length === 0) return;
    const { reports } = slot;
    slot.reports = [];
    this.#post(slot, { type: "report", reports });
  }

  /** One batch at a time: while a shard is at one, the next grows, so the busier it is the fewer messages it gets. */
  #sendPicksTo(slot: Slot): void {
    if (slot.picks.length === 0 || slot.picksUnderWay) return;
    slot.picksUnderWay = true;
    this.#post(slot, Int32Array.from(slot.picks));
    slot.picks.length = 0;
  }

  #sweep(): void {
    this.lentModules.tick();
    const nowMs = performance.now();
    for (const slot of this.#slots) {
      for (const [id, pending] of slot.pending) {
        if (pending.deadlineMs > nowMs) break;
        slot.pending.delete(id);
        pending.reject(new ShardUnavailable(`shard ${slot.index} did not answer within ${PENDING_TIMEOUT_MS} ms`));
      }
    }
  }

  /** At once where the module is lent to this thread. A promise is rejected with ShardUnavailable. */
  pick(modid: number, cmdid: number, keyHash: number): PickAnswer | Promise<PickAnswer> {
    const here = this.lentModules.pick(modid, cmdid, keyHash);
    if (here !== undefined) return here;
    const slot = this.#owner(modid, cmdid);
    return this.#ask(slot, (id) => {
      slot.picks.push(id, modid, cmdid, keyHash);
      this.#scheduleFlush();
    }) as Promise<PickAnswer>;
  }

  /** A pick and up to `limit` - 1 others; 0: none, only whether the module is there. @throws ShardUnavailable */
  async resolve(modid: number, cmdid: number, limit: number): Promise<ResolveAnswer> {
    const here = this.lentModules.resolve(modid, cmdid, limit);
    if (here !== undefined) return here;
    const owner = this.#owner(modid, cmdid);
    return (await this.#ask(owner, (id) =>
      this.#post(owner, { type: "resolve", id, modid, cmdid, limit }),
    )) as ResolveAnswer;
  }

  /** @throws ShardUnavailable */
  async describe(modid: number, cmdid: number): Promise<ModuleDescription | undefined> {
    const owner = this.#owner(modid, cmdid);
    const here = this.lentModules.describe(modid, cmdid);
    const home = await this.#describe(owner, modid, cmdid);
    return here === undefined ? home : withTotals(here, home);
  }

  /** By pieces: a shard answers callers in between. */
  async #describe(owner: Slot, modid: number, cmdid: number): Promise<ModuleDescription | undefined> {
    const hosts: ModuleDescription["hosts"][number][] = [];
    for (;;) {
      const after = hosts.at(-1);
      const at = after && { ip: after.ip, port: after.port };
      const piece = (await this.#ask(owner, (id) =>
        this.#post(owner, { type: "describe", id, modid, cmdid, after: at }),
      )) as DescriptionPiece | undefined;
      if (piece === undefined) return undefined;
      hosts.push(...piece.description.hosts);
      if (!piece.more || piece.description.hosts.length === 0) return { ...piece.description, hosts };
    }
  }

  report(reports: readonly CallReport[]): void {
    for (const report of reports) {
      if (this.lentModules.report(report)) continue;
      this.#owner(report.modid, report.cmdid).reports.push(report);
      this.#scheduleFlush();
    }
  }

  route(update: RouteUpdate): void {
    this.#post(this.#owner(update.modid, update.cmdid), { type: "routes", routes: [update] });
    this.lentModules.route(update);
  }

  configure(settings: ShardSettings): void {
    this.#settings = settings;
    this.lentModules.configure(settings);
    for (const slot of this.#slots) this.#post(slot, { type: "configure", settings });
  }

  /** Per shard, for metrics and readiness. */
  states(): readonly {
    readonly index: number;
    readonly port: number;
    readonly ready: boolean;
    readonly restarts: number;
    readonly receiveBufferBytes: number;
    readonly counters: ShardCounters;
  }[] {
    return this.#slots;
  }

  statistics(): readonly StatisticsReader[] {
    return this.#slots.map(({ statistics }) => statistics);
  }

  /** Ends a shard's worker; a successor takes its place, as after a fault. */
  restart(index: number): void {
    this.#slots[index]!.worker?.terminate();
  }

  /** Closes the sockets. What was counted stays readable. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#sweeper);
    this.lentModules.stop();
    await Promise.all(
      this.#slots.map(
        (slot) =>
          new Promise<void>((resolve) => {
            if (slot.worker === undefined) {
              resolve();
              return;
            }
            const timer = setTimeout(resolve, 1000);
            slot.stopped = () => {
              clearTimeout(timer);
              resolve();
            };
            this.#post(slot, { type: "stop" });
          }),
      ),
    );
    for (const slot of this.#slots) slot.worker?.terminate();
    this.#closeSockets();
  }
}

function bellOf({ socket, doorbell }: Slot): { socket: OpenUdp | undefined; doorbell: DoorbellState } {
  return { socket, doorbell };
}

// The worker around a shard: one thread, one UDP socket. It carries messages between the main thread, the siblings and
// the socket, and keeps time; what a datagram means is shard.ts's business. Everything that could hold up a datagram
// (HTTP, files, TCP, logs) lives in the main thread.
//
// Where it can, the thread waits for datagrams in the system call that receives them (udp-batch.ts) and gives the event
// loop a turn every few milliseconds and whenever a message was posted (shard-doorbell.ts). Elsewhere Bun's socket calls.

import { RESOLVING } from "../core/balancer.ts";
import { CallStatistics } from "../core/call-statistics.ts";
import { type OpenUdp, ring, UdpBatch } from "../net/udp-batch.ts";
import { bindUdp, type UdpAddress } from "../net/udp-socket.ts";
import { takeShortSlices } from "../platform/thread-slice.ts";
import { PICK_REQUEST_NUMBERS, PickAnswers } from "./pick-batch.ts";
import { Shard } from "./shard.ts";
import { counterIndex, pickCounter, ShardCounters } from "./shard-counters.ts";
import { announce, type DoorbellState, Sleeper } from "./shard-doorbell.ts";
import { ShardLending } from "./shard-lending.ts";
import { ShardModules } from "./shard-modules.ts";
import { type PeerPort, ShardPeers } from "./shard-peers.ts";
import type { FromShard, ShardStart, ToShard } from "./shard-protocol.ts";

declare const self: Worker;

/** Waiting requests are looked through this often, also while datagrams keep the loop from its timers. */
const TICK_MS = 5;
/** How long the thread may wait for a datagram while nobody waits for a route. Messages ring. */
const IDLE_WAIT_MS = 50;
/** While something is made in stretches. The kernel rounds it up to its own ticks, which are 4 ms on many machines. */
const STRETCH_WAIT_MS = 1;
/** The least from one stretch to the next: turns may follow each other fast. */
const STRETCH_EVERY_MS = 2;
const FORGET_EVERY_MS = 60_000;
const DATAGRAMS_PER_CLOCK_CHECK = 64;
/** Asking the kernel what it dropped is a system call. */
const DROPS_EVERY_MS = 1000;

function post(message: FromShard): void {
  self.postMessage(message);
}

/** What is used of either kind of socket. */
interface ShardSocket {
  readonly counters: { readonly out: number; readonly sendErrors: number };
  queueReply(bytes: Uint8Array, length: number, port: number, address: UdpAddress): void;
  droppedBySocket(): number;
}

class ShardWorker {
  readonly #counters: ShardCounters;
  readonly #modules: ShardModules;
  readonly #shard: Shard;
  readonly #lending: ShardLending;
  readonly #peers: ShardPeers;
  readonly #picked = new PickAnswers();
  readonly #sleeper: Sleeper;
  #socket: ShardSocket | undefined;
  #close: () => void = () => {};
  #stopped = false;
  #tickedAtMs = 0;
  #wentOnAtMs = 0;
  #forgotAtMs = performance.now();
  #sinceClockCheck = 0;
  /** By workers that this one succeeds; a socket counts from zero. */
  readonly #sentBefore: number;
  readonly #sendErrorsBefore: number;
  readonly #droppedBefore: number;
  #dropsReadAtMs = 0;
  readonly #timer: Timer;
  readonly #direct = {
    reply: (bytes: Uint8Array, length: number, port: number, address: UdpAddress): void => {
      this.#socket?.queueReply(bytes, length, port, address);
    },
  };

  constructor(start: ShardStart) {
    this.#sleeper = new Sleeper(start.doorbell);
    this.#counters = new ShardCounters(start.counters);
    this.#sentBefore = this.#counters.read("sent");
    this.#sendErrorsBefore = this.#counters.read("send_errors");
    this.#droppedBefore = this.#counters.read("dropped_by_socket");
    const statistics = new CallStatistics(
      start.maxStatisticsEntries,
      (block) => post({ type: "block", block }),
      start.blocks,
    );
    const modules = new ShardModules(
      start.settings.limits,
      start.settings.balancer,
      Math.random,
      statistics,
      this.#counters,
      {
        want: (modid, cmdid) => post({ type: "want", modid, cmdid }),
        forget: (modid, cmdid) => post({ type: "forget", modid, cmdid }),
      },
    );
    this.#modules = modules;
    const lending = new ShardLending(start.index, start.shards, modules, statistics, {
      lent: (modid, cmdid, granted) => post({ type: "lent", modid, cmdid, granted }),
      recall: (modid, cmdid) => post({ type: "recall", modid, cmdid }),
    });
    this.#lending = lending;
    this.#peers = new ShardPeers(
      {
        request: (datagram, sink, port, address) =>
          this.#shard.handle(datagram, sink, port, address, performance.now()),
        reply: (bytes, port, address) => this.#direct.reply(bytes, bytes.length, port, address),
      },
      this.#counters,
      (flush) => setImmediate(flush),
    );
    this.#shard = new Shard(
      start.index,
      start.shards,
      this.#modules,
      this.#counters,
      (shard, datagram, port, address) => this.#peers.forward(shard, datagram, port, address),
      (modid, cmdid) => lending.ownerOf(modid, cmdid),
    );
    this.#timer = setInterval(() => this.#tick(performance.now()), TICK_MS);
  }

  async listen(start: ShardStart): Promise<void> {
    takeShortSlices();
    const onError = (error: unknown) =>
      post({ type: "log", level: "warn", message: "UDP socket error", fields: { error: String(error) } });
    if (start.socket !== undefined) {
      this.#serve(start.socket, onError);
      post({ type: "ready", port: start.socket.port, receiveBufferBytes: start.socket.receiveBufferBytes });
      return;
    }
    const socket = await bindUdp({
      hostname: start.hostname,
      port: start.port,
      receiveBufferBytes: start.receiveBufferBytes,
      onDatagram: (datagram, port, address) => {
        const nowMs = performance.now();
        this.#shard.handle(datagram, this.#direct, port, address, nowMs);
        if (++this.#sinceClockCheck >= DATAGRAMS_PER_CLOCK_CHECK) this.#tick(nowMs);
      },
      onError,
    });
    this.#close = () => socket.close();
    this.#socket = {
      counters: socket.counters,
      queueReply: (bytes, length, port, address) => socket.queueReply(bytes, length, port, String(address)),
      droppedBySocket: () => socket.droppedBySocket(),
    };
    post({ type: "ready", port: socket.port, receiveBufferBytes: socket.receiveBufferBytes });
  }

  /** Serves the socket by system call, in turns with the event loop. */
  #serve(open: OpenUdp, onError: (error: unknown) => void): void {
    let nowMs = performance.now();
    let turnEndedAtMs = nowMs;
    const socket = new UdpBatch(
      open,
      (datagram, port, address) => this.#shard.handle(datagram, this.#direct, port, address, nowMs),
      onError,
    );
    const woken = (): void => {
      this.#sleeper.awake();
      nowMs = performance.now();
    };
    const turn = (): void => {
      if (this.#stopped) return;
      const endMs = performance.now() + TICK_MS;
      // What messages and timers had to say.
      socket.flush();
      do {
        if (!this.#sleeper.lieDown()) break;
        const received = socket.receive(this.#mayWaitMs(), woken);
        if (received === 0) break;
      } while (nowMs < endMs);
      // What was posted before the last turn ended was heard between the two.
      this.#tick(performance.now(), turnEndedAtMs);
      socket.flush();
      turnEndedAtMs = performance.now();
      setImmediate(turn);
    };
    this.#close = () => socket.flush();
    this.#socket = {
      counters: socket.counters,
      queueReply: (bytes, length, port, address) => socket.queueReply(bytes, length, port, address as number),
      droppedBySocket: () => socket.droppedBySocket(),
    };
    clearInterval(this.#timer);
    turn();
  }

  /** How long to wait for a datagram, in ms, if none comes. */
  #mayWaitMs(): number {
    if (this.#modules.isUnfinished) return STRETCH_WAIT_MS;
    return this.#counters.values[WAITING]! > 0 ? TICK_MS : IDLE_WAIT_MS;
  }

  /** What balancers make in stretches goes on with time, whether datagrams come or not. */
  #goOn(nowMs: number): void {
    if (nowMs - this.#wentOnAtMs < STRETCH_EVERY_MS) return;
    this.#wentOnAtMs = nowMs;
    this.#modules.goOn();
  }

  #tick(nowMs: number, heardMs = nowMs): void {
    this.#sinceClockCheck = 0;
    this.#goOn(nowMs);
    if (nowMs - this.#tickedAtMs < TICK_MS) return;
    this.#tickedAtMs = nowMs;
    this.#modules.tick(nowMs, heardMs);
    this.#lending.tick(nowMs);
    if (nowMs - this.#forgotAtMs > FORGET_EVERY_MS) {
      this.#forgotAtMs = nowMs;
      this.#modules.forgetIdle(nowMs);
    }
    const { values } = this.#counters;
    values[SENT] = this.#sentBefore + (this.#socket?.counters.out ?? 0);
    values[SEND_ERRORS] = this.#sendErrorsBefore + (this.#socket?.counters.sendErrors ?? 0);
    if (nowMs - this.#dropsReadAtMs < DROPS_EVERY_MS) return;
    this.#dropsReadAtMs = nowMs;
    values[DROPPED_BY_SOCKET] = this.#droppedBefore + (this.#socket?.droppedBySocket() ?? 0);
  }

  handle(message: Exclude<ToShard, ShardStart>): void {
    const nowMs = performance.now();
    if (message instanceof Int32Array) {
      this.#pickAll(message, nowMs);
      return;
    }
    switch (message.type) {
      case "peer":
        this.#connect(message.shard, message.port as unknown as PeerPort, message.doorbell, message.socket);
        break;
      case "routes":
        for (const route of message.routes) this.#modules.applyRoute(route, nowMs);
        break;
      case "configure":
        this.#modules.configure(message.settings.limits, message.settings.balancer);
        break;
      case "resolve":
        this.#resolve(message.id, message.modid, message.cmdid, message.limit, nowMs);
        break;
      case "report":
        for (const { modid, cmdid, ip, port, succeeded, latencyUs } of message.reports) {
          this.#shard.report(modid, cmdid, ip, port, succeeded, latencyUs, nowMs);
        }
        break;
      case "describe":
        post({
          type: "described",
          id: message.id,
          piece: this.#modules.describePiece(message.modid, message.cmdid, message.after, nowMs),
        });
        break;
      case "lend":
        this.#lending.ask(message.modid, message.cmdid, nowMs);
        break;
      case "returned":
        this.#lending.returned(message.modid, message.cmdid, message.back, nowMs);
        break;
      case "used":
        this.#lending.used(message.modules, nowMs);
        break;
      case "counted":
        this.#lending.counted(message.calls);
        break;
      case "stop":
        clearInterval(this.#timer);
        this.#tick(nowMs);
        this.#stopped = true;
        this.#close();
        post({ type: "stopped" });
        break;
    }
  }

  #connect(shard: number, port: PeerPort, doorbell: DoorbellState, socket: OpenUdp | undefined): void {
    const ringPeer = (): void => {
      if (socket !== undefined) ring(socket);
    };
    this.#peers.connect(shard, port, () => announce(doorbell, ringPeer));
  }

  #pickAll(batch: Int32Array, nowMs: number): void {
    for (let at = 0; at < batch.length; at += PICK_REQUEST_NUMBERS) {
      this.#pick(batch[at]!, batch[at + 1]!, batch[at + 2]!, batch[at + 3]! >>> 0, nowMs);
    }
    // Also when all of them wait: the next batch is sent when this one was taken up.
    post(this.#picked.take());
  }

  #pick(id: number, modid: number, cmdid: number, keyHash: number, nowMs: number): void {
    const answer = (atMs: number, mayWait: boolean): boolean => {
      const picked = this.#modules.pick(modid, cmdid, keyHash, atMs);
      if (picked === RESOLVING && mayWait) return false;
      this.#counters.values[pickCounter(picked)]! += 1;
      this.#picked.add(id, picked);
      // One that waited comes outside of its batch.
      if (!mayWait) post(this.#picked.take());
      return true;
    };
    this.#answerOrWait(modid, cmdid, answer, nowMs);
  }

  #resolve(id: number, modid: number, cmdid: number, limit: number, nowMs: number): void {
    const answer = (atMs: number, mayWait: boolean): boolean => {
      const resolved = this.#modules.resolve(modid, cmdid, limit, atMs);
      if (resolved.outcome === "resolving") {
        if (mayWait) return false;
        this.#counters.values[RESOLVING_ANSWERS]! += 1;
      }
      if (resolved.outcome === "hosts" && resolved.hosts.length > 0) this.#counters.values[PICKS]! += 1;
      post({ type: "resolved", id, answer: resolved });
      return true;
    };
    this.#answerOrWait(modid, cmdid, answer, nowMs);
  }

  /** Answers now, or once when the route has come or the time is up. `answer` returns false when it would rather wait. */
  #answerOrWait(
    modid: number,
    cmdid: number,
    answer: (atMs: number, mayWait: boolean) => boolean,
    nowMs: number,
  ): void {
    if (answer(nowMs, true)) return;
    if (!this.#modules.wait(modid, cmdid, { settle: (later) => void answer(later, false) }, nowMs))
      answer(nowMs, false);
  }
}

const WAITING = counterIndex("waiting");
const PICKS = counterIndex("picks");
const RESOLVING_ANSWERS = counterIndex("resolving");
const SENT = counterIndex("sent");
const SEND_ERRORS = counterIndex("send_errors");
const DROPPED_BY_SOCKET = counterIndex("dropped_by_socket");

let worker: ShardWorker | undefined;

self.onmessage = (event: MessageEvent) => {
  const message = event.data as ToShard;
  if (message instanceof Int32Array || message.type !== "start") {
    worker?.handle(message);
    return;
  }
  worker = new ShardWorker(message);
  worker.listen(message).catch((error: unknown) => {
    post({ type: "failed", message: error instanceof Error ? error.message : String(error) });
  });
};

// An agent's route source and the pushes of several dns instances, joined in memory as TCP would join them: the agent is
// connected to one of them at a time, and the test says to which.
import { RouteSource } from "../../src/agent/route-source.ts";
import type { Host } from "../../src/core/assignment.ts";
import { RoutePush } from "../../src/dns/route-push.ts";
import type { RouteService } from "../../src/dns/route-service.ts";
import { HEADER_BYTES, readInt32 } from "../../src/wire/frame.ts";
import { FakeTcpClient } from "../agent/fake-tcp-client.ts";

export class PushToSource {
  readonly source: RouteSource;
  /** Everything the agent took, in order. */
  readonly taken: { readonly modid: number; readonly revision: number; readonly hosts: readonly Host[] }[] = [];
  bytesToAgent = 0;
  bytesToServer = 0;
  readonly #pushes: RoutePush[];
  readonly #client = new FakeTcpClient();
  #deferred: (() => void)[] = [];
  #connection: ReturnType<PushToSource["connectionTo"]> | undefined;

  constructor(services: readonly RouteService[], nowMs: () => number = () => 0) {
    this.source = new RouteSource({
      responseTimeoutMs: () => 1000,
      probeIntervalMs: () => 2000,
      maxVanishShare: () => 0.5,
      maxModules: 100_000,
      nowMs,
      onRoute: (route) =>
        this.taken.push({ modid: route.modid, revision: route.revision, hosts: route.hosts.unpack() }),
    });
    this.source.attach(this.#client);
    this.#pushes = services.map((service) => {
      const push = new RoutePush({
        replica: service.replica,
        loaded: () => service.loaded,
        maxWatchesPerConnection: 100_000,
        maxWatches: 100_000,
        defer: (work) => this.#deferred.push(work),
        nowMs,
      });
      service.onChange((routes, touched) => push.onChange(routes, touched));
      return push;
    });
  }

  private connectionTo(push: RoutePush) {
    return {
      push,
      ...{ id: 1, remoteAddress: "10.0.0.9", remotePort: 1, writable: true },
      send: (bytes: Uint8Array): boolean => {
        this.bytesToAgent += bytes.length;
        this.source.onFrame(readInt32(bytes, 0), bytes.subarray(HEADER_BYTES));
        return true;
      },
      close: () => {},
    };
  }

  /** Leaves the instance it is connected to and goes to that of this index. */
  connect(index: number): this {
    this.leave();
    const push = this.#pushes[index]!;
    this.#connection = this.connectionTo(push);
    push.onOpen(this.#connection);
    this.source.onOpen();
    return this.settle();
  }

  leave(): void {
    if (this.#connection === undefined) return;
    this.#connection.push.onClose(this.#connection);
    this.#connection = undefined;
    this.source.onClose();
    this.#client.frames();
  }

  /** It reads no more, or again. */
  reads(does: boolean): this {
    if (this.#connection === undefined) return this;
    this.#connection.writable = does;
    if (does) this.#connection.push.onDrain(this.#connection);
    return this.settle();
  }

  /** Until nobody has anything to say. */
  settle(): this {
    for (;;) {
      const asked = this.#client.frames();
      for (const { msgid, body } of asked) {
        this.bytesToServer += HEADER_BYTES + body.length;
        this.#connection?.push.onFrame(this.#connection, msgid, body);
      }
      const due = this.#deferred.splice(0);
      for (const work of due) work();
      if (asked.length + due.length === 0) return this;
    }
  }
}

// The frames agents are told a route by, made once for each state of the route however many agents watch it. To encode a
// route of ten hosts costs little beside sending it; one of ten thousand takes a millisecond, which fifteen thousand
// agents that ask for it every few seconds would make more than a processor.
//
// A route that does not fit a frame is told in parts: each agent as many hosts as fit, beginning elsewhere than the one
// before it, so that together they use all. The beginnings lie evenly round the route and are taken in steps that meet
// them all, so every host is in nearly as many parts as any other, and a part is made once too.
import type { Host } from "../core/assignment.ts";
import type { FlapDamping } from "../core/flap-damping.ts";
import type { RouteRecord } from "../core/route-change.ts";
import { MAX_FRAME_BYTES } from "../wire/frame.ts";
import { encodeGetRouteResponse } from "../wire/route-codec.ts";

/** Parts of a route at least: a host is in half of them or more where two frames would do. */
const MIN_PARTS = 16;
/** From one part's beginning to the next at most. A frame holds 700 of the longest hosts there are. */
const MOST_BETWEEN = 512;

interface Parts {
  /** What is shown of the route. */
  readonly hosts: readonly Host[];
  /** Hosts of the route are left out besides. */
  readonly isPartial: boolean;
  readonly frames: (Uint8Array | undefined)[];
  /** The one to be told next, and how many further the one after it is. */
  next: number;
  step: number;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

export class RouteFrames {
  /** Frames that hold all of a route. */
  readonly #whole = new WeakMap<RouteRecord, Uint8Array>();
  /** Frames of what is shown of a route while hosts of it are left out. */
  readonly #partial = new WeakMap<readonly Host[], { readonly route: RouteRecord; readonly frame: Uint8Array }>();
  readonly #parts = new WeakMap<RouteRecord, Parts>();
  readonly #damping: FlapDamping;
  #divided = 0;
  /** Answers that held a part of a route, because a frame holds no more. */
  oversize = 0;

  constructor(damping: FlapDamping) {
    this.#damping = damping;
  }

  /** What the next agent is to be told of a route. */
  of(route: RouteRecord): Uint8Array {
    return this.#whole.get(route) ?? this.#part(route) ?? this.#encode(route);
  }

  /** What `of` gave for it was all of it, so who has it need not be told again. */
  isWhole(route: RouteRecord): boolean {
    return this.#whole.has(route);
  }

  #encode(route: RouteRecord): Uint8Array {
    const hosts = this.#damping.shown(route);
    const isPartial = this.#damping.isPartial(route);
    const known = isPartial ? this.#partial.get(hosts) : undefined;
    if (known?.route === route) return known.frame;
    const { frame, encodedHosts } = encoded(route, hosts, isPartial, 0);
    if (encodedHosts < hosts.length) {
      const count = Math.max(MIN_PARTS, Math.ceil(hosts.length / MOST_BETWEEN));
      let step = Math.max(1, Math.floor((encodedHosts * count) / hosts.length));
      while (greatestCommonDivisor(step, count) > 1) step--;
      const frames = new Array<Uint8Array | undefined>(count).fill(undefined);
      // Who is asked first is always the same, so each state of the route begins elsewhere.
      this.#parts.set(route, { hosts, isPartial, frames, next: this.#divided++ % count, step });
      return this.#part(route)!;
    }
    // What is left out is missing under this revision, so nobody who has it may be told that nothing changed.
    if (isPartial) this.#partial.set(hosts, { route, frame });
    else this.#whole.set(route, frame);
    return frame;
  }

  /** The next part of a route that was found too large, if it is shown as it was then. */
  #part(route: RouteRecord): Uint8Array | undefined {
    const parts = this.#parts.get(route);
    if (parts === undefined) return undefined;
    const { hosts, isPartial, frames, next, step } = parts;
    if (isPartial !== this.#damping.isPartial(route)) return undefined;
    if (isPartial && this.#damping.shown(route) !== hosts) return undefined;
    parts.next = (next + step) % frames.length;
    this.oversize++;
    const start = Math.floor((next * hosts.length) / frames.length);
    frames[next] ??= encoded(route, hosts, isPartial, start).frame;
    return frames[next];
  }
}

function encoded(route: RouteRecord, hosts: readonly Host[], partial: boolean, start: number) {
  const { modid, cmdid, revision, policy, vanishedFrom } = route;
  return encodeGetRouteResponse(
    { modid, cmdid, revision, hosts, policy, meant: vanishedFrom === undefined, partial },
    MAX_FRAME_BYTES,
    start,
  );
}

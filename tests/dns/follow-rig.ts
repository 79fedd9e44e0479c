// A leader in process (application, service, store in memory) and whoever asks it, without a socket: the question and
// the answer go through the application, as text, as they would over HTTP.
import { DEFAULT_WEIGHT, type Host } from "../../src/core/assignment.ts";
import { formatModuleKey } from "../../src/core/module-key.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import type { LeaderAddress } from "../../src/dns/follow/leader-addresses.ts";
import type { Ask } from "../../src/dns/follow/leader-client.ts";
import type { LeaderMirror, ReplicaRequest, Taken } from "../../src/dns/follow/leader-mirror.ts";
import { type ReplicaPage, readPage } from "../../src/dns/replica-document.ts";
import type { MemoryRouteStore } from "../support/memory-route-store.ts";
import { type AppRig, loadedApp } from "./app-rig.ts";

export function host(last: number, more: Partial<Host> = {}): Host {
  return { ip: 0x0a00_0000 + last, port: 80, weight: DEFAULT_WEIGHT, zone: "", state: "up", ...more };
}

export const hosts = (...lasts: number[]): object[] => lasts.map((last) => ({ ip: `10.0.0.${last}`, port: 80 }));

/** A dns process started anew on what the store holds. */
export async function leaderOn(store?: MemoryRouteStore): Promise<AppRig> {
  return await loadedApp(store === undefined ? {} : { store });
}

export async function pageOf(leader: AppRig, { after, from }: ReplicaRequest, limit = 20_000): Promise<ReplicaPage> {
  const part = from === undefined ? "" : `&from=${formatModuleKey(from)}`;
  const response = await leader.get(`/v1/replica?after=${after}&limit=${limit}${part}`);
  const answer = readPage(await response.json());
  if (!answer.ok) throw new Error(answer.why);
  return answer.page;
}

/** Asks until nothing more is to be asked for at once. `limit`: of a page. */
export async function catchUp(mirror: LeaderMirror, leader: AppRig, limit = 20_000): Promise<Taken> {
  for (let pages = 0; pages < 1000; pages++) {
    const taken = mirror.take(await pageOf(leader, mirror.request, limit));
    if (taken.outcome !== "more") return taken;
  }
  throw new Error("1000 pages and no end");
}

/** What readers see of routes: everything but revisions, and nothing of those that are gone. */
export function contents(routes: Iterable<RouteRecord>): string[] {
  const lines: string[] = [];
  for (const { modid, cmdid, name, policy, hosts, vanishedFrom } of routes) {
    if (hosts.length > 0 || name !== "" || policy.name !== "")
      lines.push(JSON.stringify({ modid, cmdid, name, policy, hosts, vanishedFrom }));
  }
  return lines.sort();
}

export function address(name: string): LeaderAddress {
  return { leader: `http://${name}`, base: `http://${name}` };
}

/** The text in 8 pieces, `gapMs` apart. */
export function inPieces(text: string, gapMs: number): ReadableStream<Uint8Array> {
  const step = Math.ceil(text.length / 8);
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      await Bun.sleep(gapMs);
      controller.enqueue(new TextEncoder().encode(text.slice(at, at + step)));
      at += step;
      if (at >= text.length) controller.close();
    },
  });
}

/** Asks leaders by name, 5 ms away and never held back; one that is not there does not answer. */
export function askThem(leaders: ReadonlyMap<string, AppRig>): Ask {
  return async ({ base }, request) => {
    await Bun.sleep(5);
    const leader = leaders.get(base.slice("http://".length));
    if (leader === undefined) return { ok: false, why: "the link is cut" };
    return { ok: true, page: await pageOf(leader, request) };
  };
}

// How a write is found again, in the change log, at an agent, in a watcher's frames: it puts a host into the route whose
// address is the write's number. A write replaces the route (its number is then the only one) or adds a host, so the
// highest revision among the writes that a route shows is the route's revision.
import { formatIp } from "../../src/core/endpoint.ts";

/** 100.64.0.0/10, which no other host of these tests has. */
const FIRST_IP = 0x6440_0000;
const COUNT = 1 << 22;

export const MARKER_PORT = 7;

export function markerIp(id: number): string {
  if (!Number.isInteger(id) || id < 0 || id >= COUNT) throw new RangeError(`write number ${id}: 0 to ${COUNT - 1}`);
  return formatIp((FIRST_IP + id) | 0);
}

/** The write whose number an address is; undefined for a real host's. */
export function markerOf(ip: number): number | undefined {
  const id = (ip >>> 0) - FIRST_IP;
  return id >= 0 && id < COUNT ? id : undefined;
}

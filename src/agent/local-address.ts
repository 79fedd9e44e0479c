// Under which address an agent's statistics are kept. The original asked the resolver for its own host name, which on
// some distributions is 127.0.1.1 on every machine, so that agents overwrote each other; interfaces do not lie.
import { networkInterfaces } from "node:os";
import { parseIp } from "../core/endpoint.ts";

/** `configured`, or the first outward IPv4 address of this machine, or 127.0.0.1. Signed int32. */
export function callerAddress(configured: string): number {
  if (configured !== "") return parseIp(configured)!;
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, internal, address } of addresses ?? []) {
      const ip = family === "IPv4" && !internal ? parseIp(address) : undefined;
      if (ip !== undefined) return ip;
    }
  }
  return 0x7f00_0001;
}

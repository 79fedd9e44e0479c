// The last known routes on disk, so that an agent that is restarted while every dns server is down serves at once.
//
// The file is a line of text (format, number of routes, SHA-256 of the rest) and then the routes as the very frames the
// dns service sends. It is written beside its place, synced and renamed, so that a crash leaves the old one or the new
// one; a file that does not match its checksum is put aside and the agent starts without.
//
// It is written every few seconds while routes change, by the thread that answers HTTP callers, so the frames are made in
// stretches: all of 10,000 routes at once were 20 ms and more in which nobody was answered. A route that changes meanwhile
// is written as it was or as it is, and the next file has it as it is.
import { createHash } from "node:crypto";
import { readFile, rename } from "node:fs/promises";
import { replaceFile } from "../platform/durable-file.ts";
import { MSG_GET_ROUTE_RESPONSE } from "../wire/frame.ts";
import { FrameDecoder } from "../wire/frame-decoder.ts";
import { decodeGetRouteResponse, encodeGetRouteResponse } from "../wire/route-codec.ts";
import { HeldRoute } from "./held-route.ts";

const FORMAT = "lars-routes-1";
/** Routes and hosts of one stretch: less than a millisecond. */
const STRETCH = 2000;

export type SnapshotLoad =
  | { readonly outcome: "loaded"; readonly routes: readonly HeldRoute[] }
  | { readonly outcome: "missing" }
  | { readonly outcome: "bad"; readonly reason: string };

async function encode(routes: Iterable<HeldRoute>): Promise<Uint8Array> {
  const frames: Uint8Array[] = [];
  const hash = createHash("sha256");
  let left = STRETCH;
  // A route of more hosts than a frame holds came in a frame itself, so it fits one again.
  for (const { modid, cmdid, revision, hosts, policy, partial } of routes) {
    const { frame } = encodeGetRouteResponse({ modid, cmdid, revision, hosts: hosts.unpack(), policy, partial });
    frames.push(frame);
    hash.update(frame);
    left -= 1 + hosts.length;
    if (left > 0) continue;
    left = STRETCH;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return Buffer.concat([Buffer.from(`${FORMAT} ${frames.length} ${hash.digest("hex")}\n`), ...frames]);
}

function decode(file: Uint8Array): SnapshotLoad {
  const bad = (reason: string): SnapshotLoad => ({ outcome: "bad", reason });
  const newline = file.indexOf(10);
  if (newline < 0 || newline > 200) return bad("it has no header line");
  const [format, count, digest] = Buffer.from(file.subarray(0, newline)).toString("latin1").split(" ");
  if (format !== FORMAT) return bad(`its format is "${format?.slice(0, 40)}", known is "${FORMAT}"`);
  const body = file.subarray(newline + 1);
  if (createHash("sha256").update(body).digest("hex") !== digest)
    return bad("its checksum does not match: it is damaged");
  const routes: HeldRoute[] = [];
  const error = new FrameDecoder().push(body, (msgid, frame) => {
    const route = msgid === MSG_GET_ROUTE_RESPONSE ? decodeGetRouteResponse(frame, 0, frame.length) : undefined;
    if (route !== undefined) routes.push(HeldRoute.of(route));
  });
  if (error !== undefined || routes.length !== Number(count))
    return bad(`it says ${count} routes and holds ${routes.length}`);
  return { outcome: "loaded", routes };
}

export class RouteSnapshot {
  constructor(readonly path: string) {}

  /** @throws when the folder cannot be made or the file cannot be written; the last good file is then still there */
  async save(routes: Iterable<HeldRoute>): Promise<void> {
    await replaceFile(this.path, await encode(routes));
  }

  /** A damaged file is renamed to `<path>.bad`. */
  async load(): Promise<SnapshotLoad> {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return { outcome: "missing" };
      return { outcome: "bad", reason: error instanceof Error ? error.message : String(error) };
    }
    const load = decode(bytes);
    if (load.outcome === "bad") await rename(this.path, `${this.path}.bad`).catch(() => {});
    return load;
  }
}

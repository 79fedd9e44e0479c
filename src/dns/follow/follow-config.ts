// From the configuration to a follower, or to nothing where a dns has a database of its own.
import { lookup } from "node:dns/promises";
import { join } from "node:path";
import { systemClock } from "../../platform/clock.ts";
import { isLoopback } from "../../platform/listener-safety.ts";
import type { Log } from "../../platform/log.ts";
import { projectPath } from "../../platform/project-paths.ts";
import { clientTlsPaths } from "../../platform/tls-material.ts";
import { TlsWatch } from "../../platform/tls-watch.ts";
import { type Follower, type FollowSettings, openFollower } from "./follower.ts";
import { askLeader } from "./leader-client.ts";

interface FollowConfig {
  readonly follow: FollowSettings;
  readonly client_tls: { readonly ca_file: string; readonly cert_file: string; readonly key_file: string };
  readonly http: { readonly port: number };
  readonly data: { readonly dir: string };
}

export interface ConfiguredFollower {
  readonly follower: Follower;
  readonly clientTls: TlsWatch;
}

/**
 * undefined: `follow.urls` is empty. `config` is asked again at every use, so that what can be reloaded is.
 * @throws Error with one line when the files of [client_tls] are of no use
 */
export function followerFor(
  config: () => FollowConfig,
  log: Log,
  poll: () => Promise<void>,
): ConfiguredFollower | undefined {
  const { follow, client_tls, http, data } = config();
  if (follow.urls.length === 0) return undefined;
  const open = follow.urls.filter((url) => url.startsWith("http:") && !isLoopback(new URL(url).hostname));
  if (open.length > 0 && follow.token !== "")
    log.warn("follow.token goes to these leaders unencrypted; use https", { leaders: open });
  const clock = systemClock;
  const clientTls = new TlsWatch({ paths: clientTlsPaths(client_tls), log, nowMs: () => clock.wallMs() });
  clientTls.start();
  const follower = openFollower({
    // Whom it follows stays: the store names them, and a dns cannot become one with a database while it runs.
    settings: () => ({ ...config().follow, urls: follow.urls }),
    snapshotPath: join(projectPath(data.dir), `follower-${http.port}.routes`),
    ask: askLeader,
    lookup: async (name) => (await lookup(name, { all: true, family: 4 })).map(({ address }) => address),
    tls: () => clientTls.material,
    clock,
    log,
    poll,
  });
  return { follower, clientTls };
}

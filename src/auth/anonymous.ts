// What callers without a token may do, as it is configured: "auto" trusts whoever is on this machine.
import { isLoopback } from "../platform/listener-safety.ts";

/** What `auth.anonymous_read` or `auth.anonymous_report` comes to: "auto" allows it while the HTTP server is on loopback. */
export function needsNoToken(setting: "auto" | boolean, httpHost: string): boolean {
  return setting === "auto" ? isLoopback(httpHost) : setting;
}

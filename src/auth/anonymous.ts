// What callers without a token may do, as it is configured: "auto" trusts whoever is on this machine.

const LOOPBACK = /^(127(\.\d{1,3}){3}|localhost|::1)$/;

/** Whether only this machine can reach what listens there. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/** What `auth.anonymous_read` or `auth.anonymous_report` comes to: "auto" allows it while the HTTP server is on loopback. */
export function needsNoToken(setting: "auto" | boolean, httpHost: string): boolean {
  return setting === "auto" ? isLoopback(httpHost) : setting;
}

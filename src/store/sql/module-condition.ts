// "These modules" and "these endpoints" as a WHERE condition. A list of row values, (a, b) IN ((1, 2), …), reads better
// but MariaDB answers it by scanning the table; ORs of equalities use the key on every server.
import type { Endpoint } from "../../core/endpoint.ts";
import type { ModuleKey } from "../../core/module-key.ts";

/** SQLite refuses an expression deeper than 1,000, and an OR of n terms is n deep. */
export const MAX_TERMS = 300;

/** At most {@link MAX_TERMS} keys, at least one. `prefix`: "h." for a table alias. */
export function moduleCondition(keys: readonly ModuleKey[], prefix = ""): string {
  const cmdidsOf = new Map<number, number[]>();
  for (const { modid, cmdid } of keys) {
    const cmdids = cmdidsOf.get(modid >>> 0);
    if (cmdids === undefined) cmdidsOf.set(modid >>> 0, [cmdid >>> 0]);
    else cmdids.push(cmdid >>> 0);
  }
  const terms: string[] = [];
  for (const [modid, cmdids] of cmdidsOf) terms.push(`(${prefix}modid=${modid} AND ${prefix}cmdid IN (${cmdids}))`);
  return `(${terms.join(" OR ")})`;
}

/** At most {@link MAX_TERMS}, at least one. `ip` and `port`: what the table calls the columns. */
export function endpointCondition(endpoints: readonly (ModuleKey & Endpoint)[], ip: string, port: string): string {
  const terms = endpoints.map(
    (e) => `(modid=${e.modid >>> 0} AND cmdid=${e.cmdid >>> 0} AND ${ip}=${e.ip >>> 0} AND ${port}=${e.port >>> 0})`,
  );
  return `(${terms.join(" OR ")})`;
}

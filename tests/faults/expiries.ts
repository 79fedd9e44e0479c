// Which hosts left their routes because a lease ended (or was ended), as the change log tells it.
import { readJson } from "./read-json.ts";

interface LogPage {
  readonly changes: readonly {
    readonly revision: number;
    readonly action: string;
    readonly items: readonly {
      readonly before?: { readonly hosts?: readonly { ip: string; port: number }[] };
      readonly after?: { readonly hosts?: readonly { ip: string; port: number }[] };
    }[];
  }[];
}

export interface Expiries {
  /** Of the last entry read; where to go on from. */
  readonly revision: number;
  /** "ip:port". */
  readonly expired: readonly string[];
}

/** From after a revision to the end of the log; `actions` is what made them leave. */
export async function readExpiries(
  dns: string,
  after: number,
  actions: readonly string[] = ["expire"],
): Promise<Expiries> {
  const expired: string[] = [];
  for (let revision = after; ; ) {
    const { changes } = await readJson<LogPage>(dns, `/v1/changes?after=${revision}&limit=1000`);
    if (changes.length === 0) return { revision, expired };
    for (const { action, items } of changes) {
      if (!actions.includes(action)) continue;
      for (const { before, after } of items) {
        const kept = new Set(after?.hosts?.map(({ ip, port }) => `${ip}:${port}`));
        expired.push(
          ...(before?.hosts ?? []).map(({ ip, port }) => `${ip}:${port}`).filter((endpoint) => !kept.has(endpoint)),
        );
      }
    }
    revision = changes.at(-1)!.revision;
  }
}

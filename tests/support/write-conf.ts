// Writes conf/*.toml from the schemas (`bun run generate:conf`). A test compares the files with what this would write.
import { resolve } from "node:path";
import { agentConfig } from "../../src/agent/config.ts";
import { dnsConfig } from "../../src/dns/config.ts";
import { renderToml } from "../../src/platform/config-text.ts";
import { reportConfig } from "../../src/report/config.ts";

/** File name to content. */
export function confFiles(): Map<string, string> {
  return new Map(
    [dnsConfig, reportConfig, agentConfig].map((schema) => [`${schema.process}.toml`, renderToml(schema)]),
  );
}

export const confDir = resolve(import.meta.dir, "../../conf");

if (import.meta.main) {
  for (const [name, text] of confFiles()) await Bun.write(resolve(confDir, name), text);
}

// A process that logs a lot, then dies of an error nobody catches.
import { createLog } from "../../src/platform/log-output.ts";
import { createShutdown } from "../../src/platform/shutdown.ts";

const log = createLog({ process: "dns", level: "info", format: "json" });
createShutdown({ log });
for (let i = 0; i < 2_000; i++) log.info("flood", { i, pad: "x".repeat(200) });
setTimeout(() => {
  throw new Error("a bug");
}, 100);

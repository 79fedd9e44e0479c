// What travels with every HTTP request through an application, for those that build applications and those that serve
// them.
import type { Principal } from "../core/principal.ts";
import type { Log } from "./log.ts";

/**
 * What handlers find in the context. `principal`: set by the process that checks access; `who`: its name, for records.
 */
export interface HttpEnv {
  Variables: { requestId: string; log: Log; who: string; principal: Principal };
  Bindings: HttpBindings;
}

/** What whoever serves the application knows of a request beyond what the caller says. Absent in tests: all of it. */
export interface HttpBindings {
  /** The caller's, as the connection has it. */
  readonly address?: string | undefined;
}

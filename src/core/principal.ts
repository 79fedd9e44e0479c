// Who is calling and what that allows, as values: the roles of access tokens and the needs of calls stand in one table,
// which the services ask and the documentation shows.
import { type ModulePattern, matchesModule } from "./module-pattern.ts";

/** What a token may do. `registrar` is limited to the modules its token names. */
export const ROLES = ["reader", "registrar", "editor", "admin"] as const;
export type Role = (typeof ROLES)[number];

/**
 * What a call needs: to see (`read`), to register hosts of its own (`register`), to change routes (`change`), to hand in
 * statistics (`report`), to give out and take away tokens (`administer`).
 */
export type Need = "read" | "register" | "change" | "report" | "administer";

const ALLOWED: Readonly<Record<Role, readonly Need[]>> = {
  reader: ["read"],
  registrar: ["read", "register", "report"],
  editor: ["read", "register", "change", "report"],
  admin: ["read", "register", "change", "report", "administer"],
};

export interface Principal {
  /** The token's; "anonymous" without one, "configured" for LARS_ADMIN_TOKEN. */
  readonly id: string;
  /** For people: the change log, the log. */
  readonly name: string;
  readonly role: Role | "anonymous";
  /** Whether hosts of this module may be registered, renewed and deregistered. */
  mayRegister(modid: number, cmdid: number): boolean;
}

/** `modules` limit a registrar; to the other roles they mean nothing. */
export function principalOf(id: string, name: string, role: Role, modules: readonly ModulePattern[] = []): Principal {
  const mayRegister = (modid: number, cmdid: number) =>
    allows(role, "register") && (role !== "registrar" || matchesModule(modules, modid, cmdid));
  return { id, name, role, mayRegister };
}

/** Somebody without a token, where none is needed. */
export const ANONYMOUS: Principal = {
  id: "anonymous",
  name: "anonymous",
  role: "anonymous",
  mayRegister: () => false,
};

export function allows(role: Role, need: Need): boolean {
  return ALLOWED[role].includes(need);
}

/** The roles that a call with this need is open to, the least powerful first. */
export function rolesFor(need: Need): readonly Role[] {
  return ROLES.filter((role) => allows(role, need));
}

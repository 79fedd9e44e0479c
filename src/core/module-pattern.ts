// Which modules a token may register hosts of: one ("1.1") or all of a modid ("1.*"). Stored and shown as text, compared
// as numbers, parsed here and nowhere else.
import { formatModuleKey, parseModuleId } from "./module-key.ts";

/** `cmdid` undefined: every cmdid of the modid. */
export interface ModulePattern {
  readonly modid: number;
  readonly cmdid: number | undefined;
}

/** "1.1" or "1.*", ids signed or unsigned; undefined when malformed. */
export function parseModulePattern(text: string): ModulePattern | undefined {
  const dot = text.indexOf(".");
  if (dot < 0) return undefined;
  const modid = parseModuleId(text.slice(0, dot));
  if (modid === undefined) return undefined;
  const rest = text.slice(dot + 1);
  if (rest === "*") return { modid, cmdid: undefined };
  const cmdid = parseModuleId(rest);
  return cmdid === undefined ? undefined : { modid, cmdid };
}

export function formatModulePattern({ modid, cmdid }: ModulePattern): string {
  return cmdid === undefined ? `${modid}.*` : formatModuleKey({ modid, cmdid });
}

/** A comma list; "" is none. Parts that are malformed are left out: they allow nothing. */
export function parseModulePatterns(text: string): readonly ModulePattern[] {
  return text.split(",").flatMap((part) => parseModulePattern(part) ?? []);
}

/** As {@link parseModulePatterns} reads it. */
export function formatModulePatterns(patterns: readonly ModulePattern[]): string {
  return patterns.map(formatModulePattern).join(",");
}

export function matchesModule(patterns: readonly ModulePattern[], modid: number, cmdid: number): boolean {
  return patterns.some((pattern) => pattern.modid === modid && (pattern.cmdid ?? cmdid) === cmdid);
}

// The pieces that request and response schemas of all processes are made of, so that a module id or an address is
// written, checked and documented the same way everywhere. Inside they are the core's values: ids and IPs as signed
// 32-bit integers.
import { z } from "@hono/zod-openapi";
import { HOST_STATES, MAX_WEIGHT, MAX_ZONE_LENGTH, MIN_WEIGHT } from "../core/assignment.ts";
import { parseEndpoint, parseIp } from "../core/endpoint.ts";
import { parseModuleId, parseModuleKey } from "../core/module-key.ts";

const ID_RANGE = "a 32-bit integer, signed or unsigned (-2147483648 to 4294967295)";

function parsed<T>(parse: (text: string) => T | undefined, expected: string) {
  return z.string().transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.issues.push({ code: "custom", input: text, message: `expected ${expected}, got ${quote(text)}` });
    return z.NEVER;
  });
}

function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}

/** A modid or cmdid in a path or query; signed or unsigned text in, signed number out. */
export const idParam = parsed(parseModuleId, ID_RANGE).openapi({ type: "integer", format: "int64", example: 1 });

/** A modid or cmdid in a body; signed or unsigned number in, signed number out. */
export const idField = z
  .int()
  .min(-0x8000_0000)
  .max(0xffff_ffff)
  .transform((id) => id | 0)
  .openapi({ type: "integer", format: "int64", minimum: -0x8000_0000, maximum: 0xffff_ffff, example: 1 });

/** "modid.cmdid" in a query; {modid, cmdid} out. */
export const moduleParam = parsed(parseModuleKey, "modid.cmdid, two 32-bit integers").openapi({
  type: "string",
  example: "1.1",
});

/** A dotted IPv4 address in, a signed int32 out. */
export const ipField = parsed(parseIp, "a dotted IPv4 address").openapi({
  type: "string",
  format: "ipv4",
  example: "10.0.0.1",
});

/** As answers carry addresses: dotted. */
export const ipText = z.string().openapi({ format: "ipv4", example: "10.0.0.1" });

/** "ip:port" in a path; {ip, port} out. */
export const endpointParam = parsed(parseEndpoint, "ip:port").openapi({ type: "string", example: "10.0.0.1:8000" });

export const portField = z.int().min(1).max(65535).openapi({ example: 8000 });

export const weightField = z.int().min(MIN_WEIGHT).max(MAX_WEIGHT).openapi({ example: 100 });

const utf8 = new TextEncoder();

/** "" is no zone. Bounded in bytes, as it travels on the wire. */
export const zoneField = z
  .string()
  .refine((text) => text.length <= MAX_ZONE_LENGTH && utf8.encode(text).length <= MAX_ZONE_LENGTH, {
    message: `expected at most ${MAX_ZONE_LENGTH} bytes of UTF-8`,
  })
  .openapi({ maxLength: MAX_ZONE_LENGTH, example: "eu-1" });

export const hostStateField = z.enum(HOST_STATES);

/** A whole number in a query, within a range. */
export function intParam(min: number, max: number) {
  return parsed((text) => {
    if (!/^-?\d{1,16}$/.test(text)) return undefined;
    const value = Number(text);
    return value >= min && value <= max ? value : undefined;
  }, `an integer from ${min} to ${max}`).openapi({ type: "integer", minimum: min, maximum: max });
}

/** `true` or `false` in a query. */
export const boolParam = parsed(
  (text) => (text === "true" ? true : text === "false" ? false : undefined),
  "true or false",
).openapi({ type: "boolean" });

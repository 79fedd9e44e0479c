// The registrations on disk, so that an agent that was killed renews them on without any service doing anything. JSON,
// for people who look; a checksum over its list tells a damaged file, which is put aside, since half of the registrations
// must not be taken for all of them.
import { createHash } from "node:crypto";
import { readFile, rename } from "node:fs/promises";
import * as z from "zod";
import { replaceFile } from "../platform/durable-file.ts";
import type { KeptRegistration } from "./registration.ts";

const FORMAT = "lars-registrations-1";

const int32 = z.int().min(-0x8000_0000).max(0x7fff_ffff);

const keptSchema = z.strictObject({
  spec: z.strictObject({
    id: z.string(),
    modid: int32,
    cmdid: int32,
    ip: int32,
    port: z.int().min(1).max(65535),
    weight: z.int().optional(),
    zone: z.string().optional(),
    ttlSeconds: z.number().positive(),
    check: z
      .strictObject({
        path: z.string().optional(),
        intervalMs: z.number().positive(),
        timeoutMs: z.number().positive(),
        rise: z.int().min(1),
        fall: z.int().min(1),
      })
      .optional(),
  }),
  mayHold: z.boolean(),
  draining: z.boolean(),
});

const fileSchema = z.strictObject({ format: z.string(), sha256: z.string(), registrations: z.array(z.unknown()) });

export type RegistrationLoad =
  | { readonly outcome: "loaded"; readonly registrations: readonly KeptRegistration[] }
  | { readonly outcome: "missing" }
  | { readonly outcome: "bad"; readonly reason: string };

function digestOf(registrations: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(registrations)).digest("hex");
}

function decode(text: string): RegistrationLoad {
  const bad = (reason: string): RegistrationLoad => ({ outcome: "bad", reason });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return bad("it is not JSON: it is damaged");
  }
  const file = fileSchema.safeParse(json);
  if (!file.success) return bad("it is not a list of registrations");
  const { format, sha256, registrations } = file.data;
  if (format !== FORMAT) return bad(`its format is "${format.slice(0, 40)}", known is "${FORMAT}"`);
  if (digestOf(registrations) !== sha256) return bad("its checksum does not match: it is damaged");
  const kept = z.array(keptSchema).safeParse(registrations);
  if (!kept.success) return bad(`a registration in it is not valid: ${kept.error.issues[0]?.message}`);
  return {
    outcome: "loaded",
    registrations: kept.data.map(({ spec: { check, weight, zone, ...spec }, ...rest }) => ({
      ...rest,
      spec: { ...spec, weight, zone, check: check === undefined ? undefined : { ...check, path: check.path } },
    })),
  };
}

export class RegistrationFile {
  constructor(readonly path: string) {}

  /** @throws when it cannot be written; the last good file is then still there */
  async save(registrations: readonly KeptRegistration[]): Promise<void> {
    const list = registrations.map((one) => JSON.stringify(one)).join(",\n");
    // Of the text that a reader gets by writing what it read, in which absent and undefined are the same.
    const sha256 = digestOf(JSON.parse(`[${list}]`));
    await replaceFile(this.path, `{"format":"${FORMAT}","sha256":"${sha256}","registrations":[\n${list}\n]}\n`);
  }

  /** A damaged file is renamed to `<path>.bad`. */
  async load(): Promise<RegistrationLoad> {
    let text: string;
    try {
      text = await readFile(this.path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return { outcome: "missing" };
      return { outcome: "bad", reason: error instanceof Error ? error.message : String(error) };
    }
    const load = decode(text);
    if (load.outcome === "bad") await rename(this.path, `${this.path}.bad`).catch(() => {});
    return load;
  }
}

// What was measured under a fault, as a row: printed where the test runs, and kept as a line of JSON in the file that
// LARS_FAULT_ROWS names, from which `bun run faults` makes the document.
import { test } from "bun:test";
import { appendFileSync } from "node:fs";

export interface FaultRow {
  readonly fault: string;
  readonly holdS: number;
  readonly picks: number;
  readonly failed: number;
  readonly acknowledged: number;
  /** Writes refused with 5xx or not answered in a second. */
  readonly unanswered: number;
  readonly lost: number;
  readonly pauseS: number;
  readonly staleS: number;
  readonly healS: number;
  readonly reported: number;
  readonly stored: number;
  /** Of those that were renewed all the time. */
  readonly leasesKept: number;
}

export const FULL_LENGTH = (process.env.LARS_FAULT_SECONDS ?? "") !== "";

/** A test that says little that a shorter one beside it does not: not defined in `bun run test:all`, which has minutes. */
export function fullLengthOnly(title: string, body: () => Promise<void>, timeoutMs = 300_000): void {
  if (FULL_LENGTH) test(title, body, timeoutMs);
}

/** How long faults last: short in `bun run test:all`, LARS_FAULT_SECONDS otherwise. */
export function holdMs(shortMs: number): number {
  if (!FULL_LENGTH) return shortMs;
  const text = process.env.LARS_FAULT_SECONDS;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 3600))
    throw new Error(`LARS_FAULT_SECONDS is ${JSON.stringify(text)}; expected seconds, up to 3600`);
  return seconds * 1000;
}

/** A fault, or a calm, that goes on for so long: not a wait for anything, whose end is looked for. */
export async function goesOn(ms: number): Promise<void> {
  await Bun.sleep(ms);
}

export function keepRow(table: string, row: Readonly<Record<string, string | number>>): void {
  process.stdout.write(`  ${JSON.stringify(row)}\n`);
  const file = process.env.LARS_FAULT_ROWS;
  if (file !== undefined && file !== "") appendFileSync(file, `${JSON.stringify({ table, ...row })}\n`);
}

export function keepFaultRow(table: string, row: FaultRow): void {
  const round = (seconds: number): number => Math.round(seconds * 100) / 100;
  keepRow(table, {
    fault: row.fault,
    "lasted, s": round(row.holdS),
    "picks made": row.picks,
    "picks failed": row.failed,
    "writes acknowledged": row.acknowledged,
    "refused or unanswered": row.unanswered,
    "acknowledged lost": row.lost,
    "longest pause of writes, s": round(row.pauseS),
    "longest staleness, s": round(row.staleS),
    "time to heal, s": round(row.healS),
    "calls reported": row.reported,
    "calls stored": row.stored,
    "leases kept": row.leasesKept,
  });
}

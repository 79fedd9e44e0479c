// Which of the lanes to the database a row takes. Rows of one agent take one lane: the database counts an agent's rows one
// batch at a time, so two batches that both had some would wait for each other.
import type { OfferedRow } from "./waiting-rows.ts";

export function laneOf(
  row: Readonly<Pick<OfferedRow, "instanceHigh" | "instanceLow" | "caller">>,
  lanes: number,
): number {
  const source = row.instanceHigh === 0 && row.instanceLow === 0 ? row.caller : row.instanceHigh ^ row.instanceLow;
  return (Math.imul(source, 0x9e37_79b1) >>> 16) % lanes;
}

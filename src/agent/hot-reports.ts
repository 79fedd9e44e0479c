// POST /v1/reports as most callers send it: with the pick it makes up what is asked of an agent over HTTP, on the same
// connection, so it takes the short way too. Whatever is otherwise, and whatever is to be refused, goes the general way
// (app.ts), which explains it.
import { isPort, parseIp } from "../core/endpoint.ts";
import type { HotCall, HotResult } from "../platform/http-hot.ts";
import type { CallReport } from "./shard-protocol.ts";

/** Some forty reports. */
const MAX_BODY = 4096;
const TAKEN = { body: undefined } as const;

function isWhole(value: unknown, min: number, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
}

function isId(value: unknown): value is number {
  return isWhole(value, -0x8000_0000, 0xffff_ffff);
}

function plainReport(value: unknown): CallReport | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  let fields = 0;
  for (const _ in value) fields++;
  const given = value as Record<string, unknown>;
  const { modid, cmdid, ip, port, retcode = 0, latencyUs = 0 } = given;
  if (fields !== 4 + Number("retcode" in given) + Number("latencyUs" in given)) return undefined;
  if (!isId(modid) || !isId(cmdid) || typeof ip !== "string" || typeof port !== "number" || !isPort(port)) {
    return undefined;
  }
  const address = parseIp(ip);
  if (address === undefined || !isWhole(retcode, -0x8000_0000, 0x7fff_ffff) || !isWhole(latencyUs, 0, 0xffff_ffff)) {
    return undefined;
  }
  return { modid: modid | 0, cmdid: cmdid | 0, ip: address, port, succeeded: retcode === 0, latencyUs };
}

/** What a body says, if it is plain; undefined otherwise, and for whatever the general way refuses. */
export function plainReports(text: string): readonly CallReport[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const reports: CallReport[] = [];
  for (const each of Array.isArray(value) ? value : [value]) {
    const report = plainReport(each);
    if (report === undefined) return undefined;
    reports.push(report);
  }
  return reports;
}

export function hotReports(report: (reports: readonly CallReport[]) => void): HotCall {
  const taken = (text: string): HotResult => {
    const reports = plainReports(text);
    if (reports === undefined) return undefined;
    report(reports);
    return TAKEN;
  };
  return {
    method: "POST",
    path: "/v1/reports",
    answer(call) {
      const length = call.bodyBytes ?? Number.NaN;
      if (!(length > 0 && length <= MAX_BODY) || call.header("content-type") !== "application/json") return undefined;
      const text = call.text();
      return typeof text === "string" ? taken(text) : text.then(taken);
    },
  };
}

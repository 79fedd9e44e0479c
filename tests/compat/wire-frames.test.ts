// Frames recorded between the original C++ programs: each decodes to the recorded fields, and our encoders write the
// same bytes for them. This is the promise that deployed clients, agents and servers keep working with ours.
import { describe, expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import * as frame from "../../src/wire/frame.ts";
import * as host from "../../src/wire/host-codec.ts";
import * as report from "../../src/wire/report-codec.ts";
import * as route from "../../src/wire/route-codec.ts";
import * as status from "../../src/wire/status-codec.ts";
import recorded from "../fixtures/wire-frames.json" with { type: "json" };

type Fields = Record<string, unknown>;
const FRAMES = recorded.frames as readonly { message: string; msgid: number; hex: string; fields: Fields }[];

const scratch = new Uint8Array(65_535);
const num = (value: unknown): number => (value as number | undefined) ?? 0;
const withoutZeros = (fields: object): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== 0 && value !== false));

/** The recording spells booleans as 1. */
function resultAsRecorded(result: status.HostCallResult): Fields {
  return withoutZeros({ ...result, overload: result.overload ? 1 : 0 });
}

function seal(msgid: number, end: number): Uint8Array {
  return scratch.slice(0, frame.sealFrame(scratch, 0, msgid, end));
}

function hostsOf(fields: Fields): Host[] {
  return ((fields.host as Fields[] | undefined) ?? []).map((h) => makeHost(num(h.ip), num(h.port)));
}

/** [what our decoder read, in the record's form; what our encoder writes for the record] */
function passThrough(msgid: number, bytes: Uint8Array, fields: Fields): [Fields, Uint8Array] {
  const { modid, cmdid, seq, retcode } = fields;
  const start = frame.HEADER_BYTES;
  switch (msgid) {
    case frame.MSG_GET_ROUTE_REQUEST:
    case frame.MSG_API_GET_ROUTE_REQUEST: {
      const into = route.makeGetRouteRequest();
      expect(route.decodeGetRouteRequest(bytes, start, bytes.length, into)).toBe(true);
      return [withoutZeros(into), seal(msgid, route.encodeGetRouteRequest(scratch, start, num(modid), num(cmdid)))];
    }
    case frame.MSG_GET_ROUTE_RESPONSE:
    case frame.MSG_API_GET_ROUTE_RESPONSE: {
      const read = route.decodeGetRouteResponse(bytes, start, bytes.length)!;
      const hosts = read.hosts.map(({ ip, port }) => ({ ip, port }));
      const fieldsRead = { modid: read.modid, cmdid: read.cmdid, revision: read.revision, badHosts: read.badHosts };
      const content = { modid: num(modid), cmdid: num(cmdid), hosts: hostsOf(fields) };
      return [
        { ...withoutZeros(fieldsRead), ...(hosts.length > 0 && { host: hosts }) },
        route.encodeGetRouteResponse(content, frame.MAX_FRAME_BYTES, 0, msgid).frame,
      ];
    }
    case frame.MSG_REPORT_STATUS_REQUEST: {
      const into = status.makeReportStatusRequest();
      expect(status.decodeReportStatusRequest(bytes, start, bytes.length, into)).toBe(true);
      expect(status.instanceText(into)).toBeUndefined();
      const { results, resultCount, ...rest } = into;
      const again = status.makeReportStatusRequest();
      Object.assign(again, { modid, cmdid, caller: fields.caller, ts: fields.ts });
      for (const result of fields.results as Fields[]) {
        again.results.push({ ip: 0, port: 0, succ: 0, err: 0, ...result, overload: result.overload === 1 });
      }
      again.resultCount = again.results.length;
      return [
        { ...withoutZeros(rest), results: results.slice(0, resultCount).map(resultAsRecorded) },
        seal(msgid, status.encodeReportStatusRequest(scratch, start, again)),
      ];
    }
    case frame.MSG_GET_HOST_REQUEST: {
      const into = host.makeGetHostRequest();
      expect(host.decodeGetHostRequest(bytes, start, bytes.length, into)).toBe(true);
      const end = host.encodeGetHostRequest(scratch, start, num(seq), num(modid), num(cmdid));
      return [withoutZeros(into), seal(msgid, end)];
    }
    case frame.MSG_GET_HOST_RESPONSE: {
      const into = host.makeGetHostResponse();
      expect(host.decodeGetHostResponse(bytes, start, bytes.length, into)).toBe(true);
      const { hasHost, ip, port, ...rest } = into;
      const given = fields.host as Fields | undefined;
      const end =
        given === undefined
          ? host.encodeGetHostFailure(scratch, start, num(seq), num(modid), num(cmdid), num(retcode))
          : host.encodeGetHostSuccess(scratch, start, num(seq), num(modid), num(cmdid), num(given.ip), num(given.port));
      return [{ ...withoutZeros(rest), ...(hasHost && { host: withoutZeros({ ip, port }) }) }, seal(msgid, end)];
    }
    case frame.MSG_REPORT_REQUEST: {
      const into = report.makeReportRequest();
      expect(report.decodeReportRequest(bytes, start, bytes.length, into)).toBe(true);
      const { ip, port, ...rest } = into;
      const again = { ...report.makeReportRequest(), modid, cmdid, retcode: num(retcode), ...(fields.host as Fields) };
      const end = report.encodeReportRequest(scratch, start, again as report.ReportRequest);
      return [{ ...withoutZeros(rest), host: withoutZeros({ ip, port }) }, seal(msgid, end)];
    }
    default:
      throw new Error(`the recording holds msgid ${msgid}, which this test does not know`);
  }
}

describe("recorded frames of the C++ programs", () => {
  test("the recording holds every message of the original", () => {
    expect([...new Set(FRAMES.map(({ msgid }) => msgid))].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  for (const [index, { message, msgid, hex, fields }] of FRAMES.entries()) {
    test(`frame ${index}, ${message}, is read as recorded and written with the same bytes`, () => {
      const bytes = Uint8Array.fromHex(hex);
      expect(frame.datagramFrame(bytes)).toBe(msgid);
      const [read, written] = passThrough(msgid, bytes, fields);
      expect(read).toEqual(fields);
      expect(written.toHex()).toBe(hex);
    });
  }
});

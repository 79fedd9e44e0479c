// Every hand-written codec against two judges: protobuf-es, generated from proto/lars.proto, for what well-formed bytes
// mean; and proto-model.ts for what is malformed.
import { describe, expect, test } from "bun:test";
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { DEFAULT_WEIGHT, MAX_WEIGHT, makeHost } from "../../src/core/assignment.ts";
import { isPort } from "../../src/core/endpoint.ts";
import {
  NO_CHOICE,
  POLICIES,
  type PolicyChoice,
  type PolicyName,
  STEERING_PARAMETERS,
} from "../../src/core/policies.ts";
import { MAX_FRAME_BYTES } from "../../src/wire/frame.ts";
import * as pb from "../../src/wire/gen/lars_pb.ts";
import * as host from "../../src/wire/host-codec.ts";
import * as report from "../../src/wire/report-codec.ts";
import * as route from "../../src/wire/route-codec.ts";
import * as status from "../../src/wire/status-codec.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import { type Decoded, modelDecode, type Schema } from "./proto-model.ts";

const out = new Uint8Array(70_000);
/** Bodies are written and read at an offset: nothing may assume that a message begins at 0 or ends with its buffer. */
const AT = 5;

const ENDPOINT: Schema = { 1: ["ip", "int32"], 2: ["port", "int32"] };
const HOST_INFO: Schema = { ...ENDPOINT, 16: ["weight", "uint32"], 17: ["zone", "string"] };
const POLICY: Schema = {
  1: ["name", "string"],
  2: ["parameters", { many: { 1: ["key", "string"], 2: ["value", "double"] } }],
};
const IDS: Schema = { 1: ["modid", "int32"], 2: ["cmdid", "int32"] };

const int32 = fc.oneof(fc.constantFrom(0, 1, -1, 127, 128, 0x7fff_ffff, -0x8000_0000), fc.integer());
const uint32 = fc.oneof(fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff), fc.nat({ max: 0xffff_ffff }));
const uint53 = fc.oneof(fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
const uint64 = fc.oneof(
  fc.constantFrom(0n, 1n, 2n ** 63n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const port = fc.oneof(fc.constantFrom(1, 65_535), fc.integer({ min: 1, max: 65_535 }));
const anyText = fc.string({ unit: "binary", maxLength: 20 });
const parameterSpecs = Object.entries(STEERING_PARAMETERS) as [string, { min: number; max: number; whole?: true }][];
/** Any policy with any parameters it takes, these in the order of their list. */
const policy = fc
  .record({
    name: fc.constantFrom(...POLICIES),
    values: fc.tuple(
      ...parameterSpecs.map(([, { min, max, whole }]) =>
        fc.option(whole ? fc.integer({ min, max }) : fc.double({ min, max, noNaN: true })),
      ),
    ),
  })
  .map(({ name, values }) => ({
    name,
    parameters: parameterSpecs.flatMap(([key], i) => {
      const value = values[i];
      return value === null || value === undefined || name === "lars" ? [] : [{ key, value }];
    }),
  }));
const weight = fc.oneof(fc.constant(DEFAULT_WEIGHT), fc.integer({ min: 1, max: MAX_WEIGHT }));

interface Case {
  readonly name: string;
  readonly es: DescMessage;
  readonly model: Schema;
  /** Values in the model's form, with proto3 names. */
  readonly values: fc.Arbitrary<Decoded>;
  /** A model value as protobuf-es takes it. */
  readonly toEs: (value: Decoded) => object;
  readonly fromEs: (message: MessageShape<DescMessage>) => Decoded;
  /** What our decoder makes of a model value, where it is more than a copy. */
  readonly mended?: (value: Decoded) => Decoded;
  readonly encode: (value: Decoded) => Uint8Array;
  readonly decode: (buf: Uint8Array, start: number, end: number) => Decoded | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: fields of any message, compared by value
type Fields = Record<string, any>;
const bytesOf = (end: number): Uint8Array => out.slice(AT, end);
const endpointOf = (h: Fields | undefined) => (h === undefined ? undefined : { ip: h.ip, port: h.port });

interface RawPolicy {
  readonly name: string;
  readonly parameters: readonly { readonly key: string; readonly value: number }[];
}

/** What is known and within its range, the last of equal names; nothing when the policy itself is not known. */
function mendPolicy(policy: RawPolicy | undefined): RawPolicy | undefined {
  if (policy === undefined || !POLICIES.includes(policy.name as PolicyName)) return undefined;
  const parameters = parameterSpecs.flatMap(([key, { min, max, whole }]) => {
    const value = policy.parameters.findLast((parameter) => parameter.key === key)?.value;
    const fits = value !== undefined && value >= min && value <= max && (!whole || value % 1 === 0);
    return fits && policy.name !== "lars" ? [{ key, value }] : [];
  });
  return { name: policy.name, parameters };
}

function mendRoute(value: Decoded): Decoded {
  const hosts = (value.host as { port: number; weight: number }[]).filter((h) => isPort(h.port));
  return {
    ...value,
    policy: mendPolicy(value.policy as RawPolicy | undefined),
    revision: BigInt(Number(value.revision)),
    host: hosts.map((h) => ({ ...h, weight: h.weight === 0 ? DEFAULT_WEIGHT : Math.min(h.weight, MAX_WEIGHT) })),
  };
}

function esPolicy({ name, parameters }: RawPolicy): object {
  return { name, parameters: Object.fromEntries(parameters.map(({ key, value }) => [key, value])) };
}

const statusScratch = status.makeReportStatusRequest();

const CASES: readonly Case[] = [
  {
    name: "GetRouteRequest",
    es: pb.GetRouteRequestSchema,
    model: { ...IDS, 16: ["revision", "uint64"] },
    values: fc.record({ modid: int32, cmdid: int32, revision: uint53.map(BigInt) }),
    toEs: (v) => v,
    fromEs: (m) => ({ modid: (m as Fields).modid, cmdid: (m as Fields).cmdid, revision: (m as Fields).revision }),
    // A revision beyond 2^53 is none that was ever given out; it is read as the nearest number.
    mended: (v) => ({ ...v, revision: BigInt(Number(v.revision)) }),
    encode: (v) =>
      bytesOf(route.encodeGetRouteRequest(out, AT, v.modid as number, v.cmdid as number, Number(v.revision))),
    decode: (buf, start, end) => {
      const into = { modid: 77, cmdid: 77, revision: 77 };
      if (!route.decodeGetRouteRequest(buf, start, end, into)) return undefined;
      return { ...into, revision: BigInt(into.revision) };
    },
  },
  {
    name: "UnwatchRouteRequest",
    es: pb.UnwatchRouteRequestSchema,
    model: IDS,
    values: fc.record({ modid: int32, cmdid: int32 }),
    toEs: (v) => v,
    fromEs: (m) => ({ modid: (m as Fields).modid, cmdid: (m as Fields).cmdid }),
    encode: (v) => bytesOf(route.encodeGetRouteRequest(out, AT, v.modid as number, v.cmdid as number)),
    decode: (buf, start, end) => {
      const into = { modid: 77, cmdid: 77, revision: 77 };
      if (!route.decodeGetRouteRequest(buf, start, end, into)) return undefined;
      return { modid: into.modid, cmdid: into.cmdid };
    },
  },
  {
    name: "GetHostRequest",
    es: pb.GetHostRequestSchema,
    // hash_key is bytes here: only its hash is used, so UTF-8 is not checked. protobuf-es and C++ check it.
    model: { 1: ["seq", "uint32"], 2: ["modid", "int32"], 3: ["cmdid", "int32"], 16: ["hashKey", "bytes"] },
    values: fc.record({
      seq: uint32,
      modid: int32,
      cmdid: int32,
      hashKey: anyText.map((text) => Buffer.from(text).toHex()),
    }),
    toEs: (v) => ({ ...v, hashKey: Buffer.from(v.hashKey as string, "hex").toString() }),
    fromEs: (m) => {
      const { seq, modid, cmdid, hashKey } = m as Fields;
      return { seq, modid, cmdid, hashKey: Buffer.from(hashKey as string).toHex() };
    },
    encode: (v) => {
      const key = Uint8Array.fromHex(v.hashKey as string);
      return bytesOf(host.encodeGetHostRequest(out, AT, v.seq as number, v.modid as number, v.cmdid as number, key));
    },
    decode: (buf, start, end) => {
      const into = { seq: 77, modid: 77, cmdid: 77, hashKeyOffset: 77, hashKeyLength: 77 };
      if (!host.decodeGetHostRequest(buf, start, end, into)) return undefined;
      const { hashKeyOffset: at, hashKeyLength: length, ...rest } = into;
      return { ...rest, hashKey: buf.subarray(at, at + length).toHex() };
    },
  },
  {
    name: "GetHostResponse",
    es: pb.GetHostResponseSchema,
    model: {
      1: ["seq", "uint32"],
      ...{ 2: ["modid", "int32"], 3: ["cmdid", "int32"] },
      4: ["retcode", "int32"],
      5: ["host", { one: ENDPOINT }],
    },
    // What we send: a host and no retcode, or a retcode and no host.
    values: fc.oneof(
      fc.record({
        seq: uint32,
        modid: int32,
        cmdid: int32,
        retcode: fc.constant(0),
        host: fc.record({ ip: int32, port }),
      }),
      fc.record({
        seq: uint32,
        modid: int32,
        cmdid: int32,
        retcode: int32.filter((code) => code !== 0),
        host: fc.constant(undefined),
      }),
    ),
    toEs: (v) =>
      ({ ...v, host: v.host === undefined ? undefined : create(pb.HostInfoSchema, v.host as object) }) as object,
    fromEs: (m) => {
      const { seq, modid, cmdid, retcode, host: h } = m as Fields;
      return { seq, modid, cmdid, retcode, host: endpointOf(h) };
    },
    encode: (v) => {
      const h = v.host as { ip: number; port: number } | undefined;
      const [seq, modid, cmdid] = [v.seq, v.modid, v.cmdid] as [number, number, number];
      return bytesOf(
        h === undefined
          ? host.encodeGetHostFailure(out, AT, seq, modid, cmdid, v.retcode as number)
          : host.encodeGetHostSuccess(out, AT, seq, modid, cmdid, h.ip, h.port),
      );
    },
    decode: (buf, start, end) => {
      const into = { seq: 7, modid: 7, cmdid: 7, retcode: 7, hasHost: true, ip: 7, port: 7 };
      if (!host.decodeGetHostResponse(buf, start, end, into)) return undefined;
      const { hasHost, ip, port: p, ...rest } = into;
      return { ...rest, host: hasHost ? { ip, port: p } : undefined };
    },
  },
  {
    name: "ReportRequest",
    es: pb.ReportRequestSchema,
    model: { ...IDS, 3: ["host", { one: ENDPOINT }], 4: ["retcode", "int32"], 16: ["latencyUs", "uint32"] },
    values: fc.record({
      modid: int32,
      cmdid: int32,
      host: fc.record({ ip: int32, port }),
      retcode: int32,
      latencyUs: uint32,
    }),
    toEs: (v) => ({ ...v, host: create(pb.HostInfoSchema, v.host as object) }),
    fromEs: (m) => {
      const { modid, cmdid, retcode, latencyUs, host: h } = m as Fields;
      return { modid, cmdid, retcode, latencyUs, host: endpointOf(h) };
    },
    // A report without a host reads as host 0.0.0.0:0, which no module has.
    mended: (v) => ({ ...v, host: v.host ?? { ip: 0, port: 0 } }),
    encode: (v) => {
      const { host: h, ...rest } = v as Fields;
      return bytesOf(
        report.encodeReportRequest(out, AT, { ...(rest as object), ...(h as object) } as report.ReportRequest),
      );
    },
    decode: (buf, start, end) => {
      const into = { modid: 7, cmdid: 7, ip: 7, port: 7, retcode: 7, latencyUs: 7 };
      if (!report.decodeReportRequest(buf, start, end, into)) return undefined;
      const { ip, port: p, ...rest } = into;
      return { ...rest, host: { ip, port: p } };
    },
  },
  {
    name: "GetRouteResponse",
    es: pb.GetRouteResponseSchema,
    model: {
      ...IDS,
      3: ["host", { many: HOST_INFO }],
      16: ["revision", "uint64"],
      17: ["policy", { one: POLICY }],
      18: ["meant", "bool"],
      19: ["unchanged", "bool"],
      20: ["partial", "bool"],
    },
    values: fc.record({
      modid: int32,
      cmdid: int32,
      host: fc.array(fc.record({ ip: int32, port, weight, zone: anyText }), { maxLength: 8 }),
      revision: uint53.map(BigInt),
      policy: fc.option(policy, { nil: undefined }),
      meant: fc.boolean(),
      unchanged: fc.boolean(),
      partial: fc.boolean(),
    }),
    toEs: (v) => ({
      ...v,
      policy: v.policy === undefined ? undefined : create(pb.PolicyChoiceSchema, esPolicy(v.policy as RawPolicy)),
      host: (v.host as { weight: number }[]).map((h) =>
        create(pb.HostInfoSchema, { ...h, weight: h.weight === DEFAULT_WEIGHT ? 0 : h.weight }),
      ),
    }),
    fromEs: (m) => {
      const { modid, cmdid, revision, host: hosts, policy: p, meant, unchanged, partial } = m as Fields;
      const list = (hosts as Fields[]).map(({ ip, port: p, weight: w, zone }) => ({
        ip,
        port: p,
        weight: w,
        zone,
      }));
      const parameters = Object.entries((p?.parameters ?? {}) as Record<string, number>);
      const chosen = p && { name: p.name, parameters: parameters.map(([key, value]) => ({ key, value })) };
      return { modid, cmdid, revision, host: list, policy: chosen, meant, unchanged, partial };
    },
    mended: mendRoute,
    encode: (v) => {
      const hosts = (v.host as { ip: number; port: number; weight: number; zone: string }[]).map((h) =>
        makeHost(h.ip, h.port, h),
      );
      const chosen = v.policy as RawPolicy | undefined;
      const content = {
        ...{ modid: v.modid as number, cmdid: v.cmdid as number, revision: Number(v.revision), hosts },
        policy: chosen === undefined ? NO_CHOICE : (esPolicy(chosen) as PolicyChoice),
        ...{ meant: v.meant as boolean, unchanged: v.unchanged as boolean, partial: v.partial as boolean },
      };
      return route.encodeGetRouteResponse(content).frame.subarray(8);
    },
    decode: (buf, start, end) => {
      const read = route.decodeGetRouteResponse(buf, start, end);
      if (read === undefined) return undefined;
      const hosts = read.hosts.map(({ state: _up, ...rest }) => rest);
      const { name, parameters } = read.policy;
      const chosen = { name, parameters: Object.entries(parameters).map(([key, value]) => ({ key, value })) };
      const ids = { modid: read.modid, cmdid: read.cmdid, revision: BigInt(read.revision) };
      const flags = { meant: read.meant, unchanged: read.unchanged, partial: read.partial };
      return { ...ids, ...flags, host: hosts, policy: name === "" ? undefined : chosen };
    },
  },
  {
    name: "ReportStatusRequest",
    es: pb.ReportStatusRequestSchema,
    model: {
      ...IDS,
      3: ["caller", "int32"],
      4: ["results", { many: { ...ENDPOINT, 3: ["succ", "uint32"], 4: ["err", "uint32"], 5: ["overload", "bool"] } }],
      5: ["ts", "uint32"],
      16: ["instance", "uint64"],
      17: ["seq", "uint64"],
    },
    values: fc.record({
      modid: int32,
      cmdid: int32,
      caller: int32,
      results: fc.array(fc.record({ ip: int32, port, succ: uint32, err: uint32, overload: fc.boolean() }), {
        maxLength: 6,
      }),
      ts: uint32,
      instance: uint64,
      seq: uint53.map(BigInt),
    }),
    toEs: (v) => v,
    fromEs: (m) => {
      const { modid, cmdid, caller, results, ts, instance, seq } = m as Fields;
      const list = (results as Fields[]).map(({ ip, port: p, succ, err, overload }) => ({
        ip,
        port: p,
        succ,
        err,
        overload,
      }));
      return { modid, cmdid, caller, results: list, ts, instance, seq };
    },
    mended: (v) => ({ ...v, seq: BigInt(Number(v.seq)) }),
    encode: (v) => {
      const { instance, seq, results, ...rest } = v as {
        instance: bigint;
        seq: bigint;
        results: status.HostCallResult[];
      };
      return bytesOf(
        status.encodeReportStatusRequest(out, AT, {
          ...(rest as never as status.ReportStatusRequest),
          instanceHigh: Number(instance >> 32n),
          instanceLow: Number(instance & 0xffff_ffffn),
          seq: Number(seq),
          results,
          resultCount: results.length,
        }),
      );
    },
    decode: (buf, start, end) => {
      // One object for all runs: what an earlier frame left in the pool must not show.
      const into = statusScratch;
      if (!status.decodeReportStatusRequest(buf, start, end, into)) return undefined;
      const { instanceHigh, instanceLow, resultCount, results, seq, ...rest } = into;
      const instance = (BigInt(instanceHigh) << 32n) | BigInt(instanceLow);
      const list = results.slice(0, resultCount).map((r) => ({ ...r }));
      return { ...rest, results: list, instance, seq: BigInt(seq) };
    },
  },
];

/** Reads `body` from the middle of a buffer whose other bytes would be seen if the decoder left its bounds. */
function decodeInside(codec: Case, body: Uint8Array): Decoded | undefined {
  const buf = new Uint8Array(body.length + AT + 12).fill(0x08);
  buf.set(body, AT);
  return codec.decode(buf, AT, AT + body.length);
}

function decodeEs(codec: Case, body: Uint8Array): Decoded | undefined {
  try {
    return codec.fromEs(fromBinary(codec.es, body));
  } catch {
    return undefined;
  }
}

/** Bytes that are nearly a message: the fields of one shuffled, repeated, retyped, with bytes flipped, cut and added. */
function nearlyBody(codec: Case): fc.Arbitrary<Uint8Array> {
  const body = codec.values.map((v) => toBinary(codec.es, create(codec.es, codec.toEs(v) as never)));
  const unknown = fc.constantFrom(
    "f80701",
    "f90700112233445566aa",
    "fa0703616263",
    "fd0700112233",
    "fb07fc07",
    "0800",
    "2800",
    "1a00",
  );
  const parts = fc.array(
    fc.oneof(
      body,
      unknown.map((hex) => Uint8Array.fromHex(hex)),
    ),
    { minLength: 1, maxLength: 4 },
  );
  const edits = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 }), fc.constantFrom("set", "insert", "delete")), {
    maxLength: 3,
  });
  return fc.tuple(parts, edits).map(([list, changes]) => {
    const bytes = [...Buffer.concat(list)];
    for (const [where, byte, how] of changes) {
      const at = bytes.length === 0 ? 0 : where % bytes.length;
      if (how === "set") bytes[at] = byte;
      else if (how === "insert") bytes.splice(at, 0, byte);
      else bytes.splice(at, 1);
    }
    return new Uint8Array(bytes);
  });
}

for (const codec of CASES) {
  describe(codec.name, () => {
    const mended = codec.mended ?? ((value: Decoded) => value);

    test("is written with the bytes of protobuf-es", () => {
      fc.assert(
        fc.property(codec.values, (value) => {
          const expected = toBinary(codec.es, create(codec.es, codec.toEs(value) as never));
          expect(codec.encode(value).toHex()).toBe(expected.toHex());
        }),
        { seed: 11, numRuns: propertyRuns(500) },
      );
    });

    test("what protobuf-es writes is read back as the same values", () => {
      fc.assert(
        fc.property(codec.values, (value) => {
          const body = toBinary(codec.es, create(codec.es, codec.toEs(value) as never));
          expect(decodeInside(codec, body)).toEqual(value);
        }),
        { seed: 12, numRuns: propertyRuns(500) },
      );
    });

    let agreed = 0;
    const check = (body: Uint8Array): void => {
      const { message, oddities } = modelDecode(codec.model, body);
      const ours = decodeInside(codec, body);
      expect(ours).toEqual(message === undefined ? undefined : mended(message));
      if (oddities.size > 0) return;
      const theirs = decodeEs(codec, body);
      expect(theirs === undefined ? undefined : mended(theirs)).toEqual(ours);
      if (ours !== undefined) agreed++;
    };

    test("nearly right bytes are accepted, refused and read as the model and protobuf-es do", () => {
      agreed = 0;
      fc.assert(fc.property(nearlyBody(codec), check), { seed: 13, numRuns: propertyRuns(3000) });
      // Not all of them may have been noise.
      expect(agreed).toBeGreaterThan(propertyRuns(300));
    });

    test("noise is accepted, refused and read as the model and protobuf-es do", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), check), { seed: 14, numRuns: propertyRuns(3000) });
    });

    test("an empty body is a message of zeros", () => {
      const { message } = modelDecode(codec.model, new Uint8Array(0));
      expect(decodeInside(codec, new Uint8Array(0))).toEqual(mended(message!));
    });

    test("every truncation is read as the model does", () => {
      fc.assert(
        fc.property(codec.values, (value) => {
          const body = codec.encode(value).slice();
          for (let length = 0; length <= body.length; length++) check(body.subarray(0, length));
        }),
        { seed: 15, numRuns: propertyRuns(60) },
      );
    });

    test("bounds outside the buffer are refused", () => {
      const buf = new Uint8Array(10);
      for (const [start, end] of [
        [0, 11],
        [-1, 4],
        [5, 4],
      ] as const) {
        expect(codec.decode(buf, start, end)).toBeUndefined();
      }
    });
  });
}

describe("the wire's odd corners", () => {
  const response = host.makeGetHostResponse();
  const read = (hex: string) => host.decodeGetHostResponse(Uint8Array.fromHex(hex), 0, hex.length / 2, response);

  test("an address above 128.0.0.0 is read from its 10-byte and its 5-byte form alike", () => {
    expect(read("2a0b08b183a085fcffffffff01")).toBe(true);
    expect(response.ip).toBe(-1_062_731_343);
    expect(read("2a0608b183a0850c")).toBe(true);
    expect(response.ip).toBe(-1_062_731_343);
  });

  test("of a repeated scalar the last counts; a repeated message is merged", () => {
    expect(read("080108022a0408071009" + "2a021008")).toBe(true);
    expect([response.seq, response.ip, response.port]).toEqual([2, 7, 8]);
  });

  test("a varint of 11 bytes is refused, one of 10 with its top bits lost is not", () => {
    expect(read(`08${"80".repeat(10)}01`)).toBe(false);
    expect(read(`08${"80".repeat(9)}7f`)).toBe(true);
    expect(response.seq).toBe(0);
  });

  test("a tag of more than 5 bytes, of field 0 or above 32 bits is refused", () => {
    expect(read("8880808000" + "02")).toBe(true);
    expect(response.seq).toBe(2);
    expect(read("888080808000" + "02")).toBe(false);
    expect(read("8880808010" + "02")).toBe(false);
    expect(read("0002")).toBe(false);
  });

  test("a GetHostResponse without a host and with retcode 0 cannot be written", () => {
    expect(() => host.encodeGetHostFailure(out, 0, 1, 2, 3, 0)).toThrow(/retcode/);
  });

  test("a weight above the limit is brought down to it, an impossible port drops the host and is counted", () => {
    const body = toBinary(
      pb.GetRouteResponseSchema,
      create(pb.GetRouteResponseSchema, {
        modid: 1,
        host: [
          { ip: 1, port: 0 },
          { ip: 2, port: 70_000 },
          { ip: 3, port: -1 },
          { ip: 4, port: 80, weight: 4_000_000_000 },
        ],
      }),
    );
    expect(route.decodeGetRouteResponse(body, 0, body.length)).toEqual({
      modid: 1,
      cmdid: 0,
      revision: 0,
      hosts: [makeHost(4, 80, { weight: MAX_WEIGHT })],
      badHosts: 3,
      policy: NO_CHOICE,
      badPolicy: 0,
      meant: false,
      unchanged: false,
      partial: false,
    });
  });

  const choices: [title: string, name: string, parameters: Record<string, number>, read: PolicyChoice, bad: number][] =
    [
      ["a policy of a newer sender is no choice, and counted", "fancy", { decay: 2 }, NO_CHOICE, 2],
      ["parameters without a policy are no choice", "", { decay: 2 }, NO_CHOICE, 1],
      [
        "an unknown parameter and one out of range are left out, and counted",
        "adaptive",
        { decay: 2, min_calls: 0, consecutive_failures: 2.5, success_window: Number.NaN, toString: 1 },
        { name: "adaptive", parameters: { decay: 2 } },
        4,
      ],
      ["policy lars takes no parameters", "lars", { decay: 2 }, { name: "lars", parameters: {} }, 1],
    ];
  test.each(choices)("%s", (_title, name, parameters, read, bad) => {
    const message = create(pb.GetRouteResponseSchema, { policy: { name, parameters }, host: [{ ip: 1, port: 2 }] });
    const body = toBinary(pb.GetRouteResponseSchema, message);
    const decoded = route.decodeGetRouteResponse(body, 0, body.length);
    expect([decoded?.policy, decoded?.badPolicy, decoded?.hosts.length]).toEqual([read, bad, 1]);
  });
});

describe("what a message takes at most", () => {
  const lowest = -0x8000_0000;
  test("is what its constant says", () => {
    const key = new Uint8Array(300);
    expect(host.encodeGetHostRequest(out, 0, 0xffff_ffff, lowest, lowest, key)).toBeLessThanOrEqual(
      host.getHostRequestBytes(key),
    );
    expect(host.encodeGetHostSuccess(out, 0, 0xffff_ffff, lowest, lowest, lowest, lowest)).toBeLessThanOrEqual(
      host.GET_HOST_RESPONSE_BYTES,
    );
    expect(host.encodeGetHostFailure(out, 0, 0xffff_ffff, lowest, lowest, lowest)).toBeLessThanOrEqual(
      host.GET_HOST_RESPONSE_BYTES,
    );
    const worst = { modid: lowest, cmdid: lowest, ip: lowest, port: lowest, retcode: lowest, latencyUs: 0xffff_ffff };
    expect(report.encodeReportRequest(out, 0, worst)).toBeLessThanOrEqual(report.REPORT_REQUEST_BYTES);
    expect(route.encodeGetRouteRequest(out, 0, lowest, lowest, 2 ** 53 - 1)).toBe(route.GET_ROUTE_REQUEST_BYTES);
  });

  test("a full ReportStatusRequest of the largest values fits a frame; one result more throws", () => {
    const result = { ip: lowest, port: lowest, succ: 0xffff_ffff, err: 0xffff_ffff, overload: true };
    const count = status.MAX_RESULTS_PER_FRAME;
    const worst = {
      ...{ modid: lowest, cmdid: lowest, caller: lowest, ts: 0xffff_ffff, seq: 2 ** 53 - 1 },
      ...{ instanceHigh: 0xffff_ffff, instanceLow: 0xffff_ffff, resultCount: count + 1 },
      results: new Array<status.HostCallResult>(count + 1).fill(result),
    };
    const end = status.encodeReportStatusRequest(out, 0, worst, 0, count);
    expect(end).toBeLessThanOrEqual(status.reportStatusBytes(count));
    expect(status.reportStatusBytes(count)).toBeLessThanOrEqual(65_527);
    expect(() => status.encodeReportStatusRequest(out, 0, worst)).toThrow(/split/);
    const last = status.makeReportStatusRequest();
    const tail = status.encodeReportStatusRequest(out, 0, worst, count, count + 1);
    expect([status.decodeReportStatusRequest(out, 0, tail, last), last.resultCount]).toEqual([true, 1]);
  });
});

describe("a route whose hosts do not fit", () => {
  const hosts = Array.from({ length: 9000 }, (_, i) =>
    makeHost(-1 - i, 1 + i, { weight: 1 + (i % 300), zone: i % 7 === 0 ? "zürich-1" : "" }),
  );
  const content = { modid: -1, cmdid: -1, revision: 2 ** 50, hosts };
  const readHosts = (frame: Uint8Array) => route.decodeGetRouteResponse(frame, 8, frame.length)!.hosts;

  test("is answered with as many as fit, and successive starts show every host", () => {
    const seen = new Set<number>();
    let start = 0;
    let answers = 0;
    while (seen.size < hosts.length) {
      const { frame, encodedHosts } = route.encodeGetRouteResponse(content, 65_507, start, 8);
      expect(frame.length).toBeLessThanOrEqual(65_507);
      expect(frame.length).toBeGreaterThan(65_507 - 64);
      const got = readHosts(frame);
      expect(got.length).toBe(encodedHosts);
      expect(got[0]).toEqual(hosts[start % hosts.length]!);
      expect(route.decodeGetRouteResponse(frame, 8, frame.length)?.partial).toBe(true);
      for (const { port: p } of got) seen.add(p);
      start += encodedHosts;
      if (++answers > 10) throw new Error(`${seen.size} hosts seen after 10 answers`);
    }
    expect(answers).toBeGreaterThan(1);
  });

  test("any limit and start gives a frame within the limit, in order, of hosts each once", () => {
    const some = { ...content, hosts: hosts.slice(0, 50) };
    fc.assert(
      fc.property(fc.integer({ min: route.MIN_ROUTE_FRAME_BYTES, max: 2000 }), fc.integer(), (limit, start) => {
        const { frame, encodedHosts } = route.encodeGetRouteResponse(some, limit, start);
        expect(frame.length).toBeLessThanOrEqual(limit);
        const first = encodedHosts === 50 ? 0 : ((start % 50) + 50) % 50;
        expect(readHosts(frame)).toEqual(Array.from({ length: encodedHosts }, (_, i) => some.hosts[(first + i) % 50]!));
        expect(encodedHosts).toBeGreaterThan(0);
      }),
      { seed: 16, numRuns: propertyRuns(300) },
    );
  });

  test("has room for every policy with every parameter in the smallest frame", () => {
    const parameters = Object.fromEntries(parameterSpecs.map(([name, { max }]) => [name, max]));
    for (const name of POLICIES.filter((each) => each !== "lars")) {
      const some = { ...content, hosts: hosts.slice(0, 50), policy: { name, parameters }, meant: true };
      const { frame, encodedHosts } = route.encodeGetRouteResponse(some, route.MIN_ROUTE_FRAME_BYTES, 3);
      expect(frame.length).toBeLessThanOrEqual(route.MIN_ROUTE_FRAME_BYTES);
      expect(encodedHosts).toBeGreaterThan(0);
      expect(route.decodeGetRouteResponse(frame, 8, frame.length)).toMatchObject({
        policy: some.policy,
        badPolicy: 0,
        meant: true,
      });
    }
  });

  test("fits whole: the start index changes nothing", () => {
    const some = { ...content, hosts: hosts.slice(0, 50) };
    expect(route.encodeGetRouteResponse(some, MAX_FRAME_BYTES, 17)).toEqual(route.encodeGetRouteResponse(some));
  });

  test("a limit without room for one host, or above what old peers hold, throws", () => {
    expect(() => route.encodeGetRouteResponse(content, route.MIN_ROUTE_FRAME_BYTES - 1)).toThrow(RangeError);
    expect(() => route.encodeGetRouteResponse(content, MAX_FRAME_BYTES + 1)).toThrow(RangeError);
  });
});

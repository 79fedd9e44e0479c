// Queries in, answers out, read by somebody else's decoder. Every rule of the resolver, and then bytes that no asker would
// send: whatever comes in, it never throws and never answers with more than was allowed.
import { describe, expect, test } from "bun:test";
import * as dns from "dns-packet";
import { Resolver, type ResolverLookup } from "../../src/agent/resolver.ts";
import type { ResolvedHost } from "../../src/agent/shard-modules.ts";
import { formatIp, parseIp } from "../../src/core/endpoint.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";

const host = (ip: string, port: number, weight = 100): ResolvedHost => ({ ip: parseIp(ip)!, port, weight });
const THREE = [host("10.0.0.2", 80, 300), host("10.0.0.3", 81), host("192.168.0.1", 65_535, 1)];

/** `count` hosts at addresses of their own. */
const many = (count: number): ResolvedHost[] =>
  Array.from({ length: count }, (_, i) => ({ ip: (10 << 24) + i + 1, port: 9000, weight: 100 }));

/** Looks up in a table, as the shards would; what it was asked for is in `asked`. */
function resolverOf(hosts: readonly ResolvedHost[] = THREE): { resolver: Resolver; asked: string[] } {
  const asked: string[] = [];
  const lookup: ResolverLookup = async (modid, cmdid, limit) => {
    asked.push(`${modid}.${cmdid}/${limit}`);
    if (modid === 404) return { outcome: "unknown" };
    if (modid === 503) return { outcome: "shedding" };
    if (modid === 102) return { outcome: "resolving" };
    if (modid === 500) throw new Error("the shard is away");
    return { outcome: "hosts", hosts: hosts.slice(0, limit) };
  };
  return { resolver: new Resolver(lookup), asked };
}

const decode = (bytes: Uint8Array) => dns.decode(Buffer.from(bytes));

interface Asking {
  readonly type?: string;
  readonly edns?: number;
  readonly ednsVersion?: number;
  readonly dnssecOk?: boolean;
  readonly flags?: number;
  readonly class?: string;
}

function query(name: string, { type = "A", edns, ednsVersion = 0, dnssecOk, flags, ...rest }: Asking = {}): Uint8Array {
  const bytes = dns.encode({
    id: 4711,
    type: "query",
    flags: flags ?? dns.RECURSION_DESIRED,
    questions: [{ name, type, class: rest.class ?? "IN" }],
    additionals:
      edns === undefined
        ? []
        : [
            {
              name: ".",
              type: "OPT",
              udpPayloadSize: edns,
              ednsVersion,
              extendedRcode: 0,
              flags: dnssecOk ? 0x8000 : 0,
              options: [],
            },
          ],
  });
  // The encoder has a default of its own for 0.
  if (edns !== undefined) bytes.writeUInt16BE(edns, bytes.length - 8);
  return bytes;
}

async function ask(
  name: string,
  asking: Asking = {},
  hosts?: readonly ResolvedHost[],
  transport: "udp" | "tcp" = "udp",
) {
  const reply = await resolverOf(hosts).resolver.answer(query(name, asking), transport);
  return { bytes: reply!, ...decode(reply!) };
}

/** Rcode by number, with its upper bits; dns-packet names the lower ones only. */
function rcodeOf(bytes: Uint8Array): number {
  const opt = decode(bytes).additionals.find(({ type }) => type === "OPT");
  return (bytes[3]! & 15) | ((opt?.extendedRcode ?? 0) << 4);
}

describe("a module's hosts", () => {
  test("as A: the pick first, in the balancer's order, not to be cached, authoritative", async () => {
    const answer = await ask("c1.m7.lars");
    expect(answer).toMatchObject({
      id: 4711,
      rcode: "NOERROR",
      flag_aa: true,
      flag_tc: false,
      flag_rd: true,
      flag_ra: false,
    });
    expect(answer.answers).toMatchObject(
      ["10.0.0.2", "10.0.0.3", "192.168.0.1"].map((data) => ({
        name: "c1.m7.lars",
        type: "A",
        ttl: 0,
        class: "IN",
        data,
      })),
    );
    expect(answer.authorities).toEqual([]);
    expect(answer.additionals).toEqual([]);
  });

  test("as A: an address of several hosts once, and 8 addresses at most, which is no truncation", async () => {
    const twice = await ask("c1.m7.lars", {}, [host("10.0.0.2", 80), host("10.0.0.2", 81), host("10.0.0.3", 80)]);
    expect(twice.answers.map(({ data }) => data)).toEqual(["10.0.0.2", "10.0.0.3"]);
    const long = await ask("c1.m7.lars", {}, many(100));
    expect(long.answers.map(({ data }) => data)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `10.0.0.${n}`));
    expect(long.flag_tc).toBe(false);
  });

  test("as SRV: the pick at priority 0, the others at 1, with weights, ports, targets and the targets' addresses", async () => {
    const answer = await ask("c1.m7.lars", { type: "SRV" });
    expect(answer.answers.map(({ data, ttl }) => [data, ttl])).toEqual([
      [{ priority: 0, weight: 300, port: 80, target: "10-0-0-2.ip.lars" }, 0],
      [{ priority: 1, weight: 100, port: 81, target: "10-0-0-3.ip.lars" }, 0],
      [{ priority: 1, weight: 1, port: 65_535, target: "192-168-0-1.ip.lars" }, 0],
    ]);
    expect(answer.additionals.map(({ name, type, data }) => [name, type, data])).toEqual([
      ["10-0-0-2.ip.lars", "A", "10.0.0.2"],
      ["10-0-0-3.ip.lars", "A", "10.0.0.3"],
      ["192-168-0-1.ip.lars", "A", "192.168.0.1"],
    ]);
  });

  test("as TXT: address and port", async () => {
    const answer = await ask("c1.m7.lars", { type: "TXT" });
    expect(answer.answers.map(({ data }) => String(data))).toEqual(["10.0.0.2:80", "10.0.0.3:81", "192.168.0.1:65535"]);
  });

  test.each([
    ["c1.m7.lars", "7.1"],
    ["C1.M7.LARS", "7.1"],
    ["c1.m-1.lars", "-1.1"],
    ["c-2147483648.m4294967295.lars", "-1.-2147483648"],
    ["c0.m2147483647.lars", "2147483647.0"],
  ])("%s is module %s", async (name, module) => {
    const { resolver, asked } = resolverOf();
    await resolver.answer(query(name), "udp");
    expect(asked).toEqual([`${module}/64`]);
  });

  test("every query is one lookup, and one that cannot have hosts picks none", async () => {
    const { resolver, asked } = resolverOf();
    for (const type of ["A", "SRV", "TXT", "AAAA", "NS", "SOA", "MX", "CNAME"]) {
      await resolver.answer(query("c1.m7.lars", { type }), "udp");
    }
    expect(asked).toEqual([...Array(3).fill("7.1/64"), ...Array(5).fill("7.1/0")]);
    await resolver.answer(query("c1.m7.lars", { type: "SRV" }), "tcp");
    expect(asked.at(-1)).toBe("7.1/1024");
  });
});

const SOA = {
  name: "lars",
  type: "SOA",
  ttl: 1,
  data: {
    mname: "ns.lars",
    rname: "hostmaster.lars",
    serial: 1,
    refresh: 3600,
    retry: 600,
    expire: 86_400,
    minimum: 1,
  },
};

describe("what is not there", () => {
  test.each([
    ["c1.m404.lars", "A"],
    ["c1.m404.lars", "AAAA"],
    ["x.lars", "A"],
    ["c1.lars", "A"],
    ["m1.c1.lars", "A"],
    ["x.c1.m7.lars", "A"],
    ["c01.m7.lars", "A"],
    ["c1.m4294967296.lars", "A"],
    ["c.m7.lars", "A"],
    ["c1.m.lars", "A"],
    ["1-2-3.ip.lars", "A"],
    ["1-2-3-256.ip.lars", "A"],
    ["1-2-3-04.ip.lars", "A"],
    ["x.1-2-3-4.ip.lars", "A"],
  ])("%s %s is no such name, with the zone's SOA", async (name, type) => {
    const answer = await ask(name, { type });
    expect(answer).toMatchObject({ rcode: "NXDOMAIN", flag_aa: true, answers: [], authorities: [SOA] });
    expect(answer.authorities).toHaveLength(1);
  });

  test.each([
    ["c1.m7.lars", "AAAA"],
    ["c1.m7.lars", "MX"],
    ["c1.m7.lars", "SOA"],
    // Names between: an asker that goes down label by label must not take it that nothing is below.
    ["m7.lars", "A"],
    ["m404.lars", "NS"],
    ["ip.lars", "A"],
    ["1-2-3-4.ip.lars", "AAAA"],
    ["lars", "A"],
    ["lars", "NS"],
  ])("%s %s is a name without such data, with the zone's SOA", async (name, type) => {
    const answer = await ask(name, { type });
    expect(answer).toMatchObject({ rcode: "NOERROR", flag_aa: true, answers: [], authorities: [SOA] });
  });

  test("the zone's own SOA is an answer", async () => {
    expect(await ask("lars", { type: "SOA" })).toMatchObject({ rcode: "NOERROR", answers: [SOA], authorities: [] });
  });

  test("an address that is its own name is an answer", async () => {
    const { answers } = await ask("192-168-0-1.IP.lars");
    expect(answers).toMatchObject([{ name: "192-168-0-1.IP.lars", data: "192.168.0.1", ttl: 1 }]);
  });

  test.each([
    ["shedding", 503],
    ["the route is not known yet", 102],
    ["the shard is away", 500],
  ])("%s: SERVFAIL, and nothing that could be remembered", async (_, modid) => {
    for (const type of ["A", "AAAA"]) {
      const answer = await ask(`c1.m${modid}.lars`, { type });
      expect(answer).toMatchObject({ rcode: "SERVFAIL", flag_aa: false, answers: [], authorities: [] });
    }
  });
});

describe("what is refused", () => {
  test.each([
    ["lars.example", "A"],
    ["example.com", "A"],
    ["lars1", "A"],
    [".", "NS"],
    ["c1.m7.lars", "ANY"],
    ["lars", "AXFR"],
    ["lars", "IXFR"],
  ])("%s %s is refused, without a lookup", async (name, type) => {
    const { resolver, asked } = resolverOf();
    const reply = decode((await resolver.answer(query(name, { type }), "tcp"))!);
    expect(reply).toMatchObject({ rcode: "REFUSED", flag_aa: false, answers: [], authorities: [] });
    expect(asked).toEqual([]);
  });

  test("another class is refused", async () => {
    expect(await ask("c1.m7.lars", { class: "CH" })).toMatchObject({ rcode: "REFUSED", answers: [] });
    expect(await ask("c1.m7.lars", { class: "ANY" })).toMatchObject({ rcode: "REFUSED", answers: [] });
  });
});

describe("sizes", () => {
  test("without EDNS an answer has 512 bytes at most, whole records only, and says that it is truncated", async () => {
    for (const type of ["SRV", "TXT"]) {
      const answer = await ask("c1.m7.lars", { type }, many(100));
      expect(answer.flag_tc).toBe(true);
      expect(answer.bytes.length).toBeLessThanOrEqual(512);
      expect(answer.answers.length).toBeGreaterThan(8);
      expect(answer.additionals).toEqual([]);
    }
  });

  test.each([
    [0, 512],
    [511, 512],
    [600, 600],
    [1232, 1232],
    [65_535, 1232],
  ])("EDNS with %d bytes allows %d, which are used to the last record that fits", async (edns, allowed) => {
    const answer = await ask("c1.m7.lars", { type: "TXT", edns }, many(100));
    expect(answer.flag_tc).toBe(true);
    expect(answer.bytes.length).toBeLessThanOrEqual(allowed);
    expect(answer.bytes.length).toBeGreaterThan(allowed - 12 - 1 - "10.0.0.100:9000".length);
    expect(answer.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232, ednsVersion: 0 }]);
  });

  test("over TCP a thousand hosts come as a whole, addresses as far as they fit", async () => {
    const answer = await ask("c1.m7.lars", { type: "SRV" }, many(1000), "tcp");
    expect(answer.flag_tc).toBe(false);
    expect(answer.answers).toHaveLength(1000);
    expect(answer.bytes.length).toBeLessThanOrEqual(65_535);
    expect(answer.additionals.length).toBeGreaterThan(100);
    for (const { name, data } of answer.additionals) expect(name).toBe(`${String(data).replaceAll(".", "-")}.ip.lars`);
  });

  test("addresses of targets that do not fit are left out, which is no truncation", async () => {
    const answer = await ask("c1.m7.lars", { type: "SRV" }, many(10));
    expect(answer.flag_tc).toBe(false);
    expect(answer.answers).toHaveLength(10);
    expect(answer.additionals.length).toBeLessThan(10);
  });

  test("the longest question there can be is answered within 512 bytes, SOA and OPT included", async () => {
    const label = "x".repeat(63);
    const answer = await ask(`${label}.${label}.${label}.${"y".repeat(56)}.lars`, { edns: 512 });
    expect(answer).toMatchObject({ rcode: "NXDOMAIN", authorities: [SOA] });
    expect(answer.bytes.length).toBeLessThanOrEqual(512);
  });

  test("the answer that sends to TCP is no longer than the query, and looks nothing up", () => {
    const { resolver, asked } = resolverOf();
    for (const asking of [{}, { edns: 4096 }]) {
      const bytes = query("c1.m7.lars", asking);
      const reply = resolver.askAgainOverTcp(bytes)!;
      expect(reply.length).toBeLessThanOrEqual(bytes.length);
      expect(decode(reply)).toMatchObject({ id: 4711, flag_tc: true, rcode: "NOERROR", answers: [] });
    }
    expect(resolver.askAgainOverTcp(new Uint8Array(40))).toBeUndefined();
    expect(asked).toEqual([]);
  });
});

describe("headers and bytes", () => {
  test("the question comes back byte for byte, and the records' names are in its case", async () => {
    const bytes = query("c1.M7.lArS");
    const reply = (await resolverOf().resolver.answer(bytes, "udp"))!;
    expect(reply.subarray(12, 12 + 16)).toEqual(new Uint8Array(bytes.subarray(12, 28)));
    expect(decode(reply).answers[0]!.name).toBe("c1.M7.lArS");
    const none = await ask("C1.m404.LARS");
    expect(none.questions[0]!.name).toBe("C1.m404.LARS");
    expect(none.authorities[0]!.name).toBe("LARS");
  });

  test("recursion desired and checking disabled come back as they were; recursion is not offered", async () => {
    expect(await ask("c1.m7.lars", { flags: 0 })).toMatchObject({ flag_rd: false, flag_cd: false, flag_ra: false });
    expect(await ask("c1.m7.lars", { flags: dns.RECURSION_DESIRED | dns.CHECKING_DISABLED })).toMatchObject({
      flag_rd: true,
      flag_cd: true,
      flag_ra: false,
    });
  });

  test("EDNS is answered with EDNS, DO given back; without it there is none", async () => {
    expect((await ask("c1.m7.lars", { edns: 1232, dnssecOk: true })).additionals[0]).toMatchObject({ flags: 0x8000 });
    expect((await ask("c1.m7.lars", { edns: 1232 })).additionals[0]).toMatchObject({ type: "OPT", flags: 0 });
    expect((await ask("c1.m7.lars")).additionals).toEqual([]);
  });

  test("a version of EDNS above 0 is BADVERS", async () => {
    const answer = await ask("c1.m7.lars", { edns: 1232, ednsVersion: 1 });
    expect(rcodeOf(answer.bytes)).toBe(16);
    expect(answer).toMatchObject({ answers: [], additionals: [{ ednsVersion: 0 }] });
  });

  const OPT = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
  const withAdditional = (count: number, ...records: number[][]): Uint8Array => {
    const bytes = Uint8Array.from([...query("c1.m7.lars"), ...records.flat()]);
    bytes[11] = count;
    return bytes;
  };
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = new Uint8Array(query("c1.m7.lars"));
    bytes[at] = value;
    return bytes;
  };

  test.each([
    ["two OPT records", withAdditional(2, OPT, OPT)],
    ["an OPT record with a name", withAdditional(1, [1, 120, ...OPT])],
    ["a record cut off", withAdditional(1, OPT.slice(0, 7))],
    ["a record that is missing", withAdditional(1)],
    ["data longer than the message", withAdditional(1, [...OPT.slice(0, 9), 1, 0])],
    ["no question", changed(5, 0)],
    ["two questions", changed(5, 2)],
    ["a name that goes beyond the end", changed(12, 63)],
    ["a compressed name in the question", changed(12, 0xc0)],
    ["a question cut off", query("c1.m7.lars").subarray(0, 25)],
    ["OPT as the type asked for", changed(25, 41)],
  ])("%s is FORMERR", async (_, bytes) => {
    const { resolver, asked } = resolverOf();
    const reply = (await resolver.answer(bytes, "udp"))!;
    expect([...reply.subarray(0, 2)]).toEqual([...bytes.subarray(0, 2)]);
    expect(rcodeOf(reply)).toBe(1);
    expect(asked).toEqual([]);
    expect(resolver.counts).toMatchObject({ rejected: 1, dropped: 0 });
  });

  test("every other operation than a query is NOTIMP, its number given back", async () => {
    for (let opcode = 1; opcode < 16; opcode++) {
      const reply = (await resolverOf().resolver.answer(changed(2, opcode << 3), "udp"))!;
      expect(reply).toHaveLength(12);
      expect([reply[2]! >> 3, reply[3]! & 15]).toEqual([16 + opcode, 4]);
    }
  });

  test("answers, and what is shorter than a header, are dropped and counted", async () => {
    const { resolver } = resolverOf();
    expect(await resolver.answer(changed(2, 0x80), "udp")).toBeUndefined();
    for (let length = 0; length < 12; length++) {
      expect(await resolver.answer(query("c1.m7.lars").subarray(0, length), "tcp")).toBeUndefined();
    }
    expect(resolver.counts).toMatchObject({ udp: 1, tcp: 12, dropped: 13, rejected: 0 });
  });

  test("every query is counted once by what came of it", async () => {
    const { resolver } = resolverOf(many(100));
    for (const [name, type] of [
      ["c1.m7.lars", "A"],
      ["c1.m7.lars", "TXT"],
      ["c1.m7.lars", "AAAA"],
      ["c1.m404.lars", "A"],
      ["c1.m503.lars", "A"],
      ["x.org", "A"],
    ] as const) {
      await resolver.answer(query(name, { type }), "udp");
    }
    expect(resolver.counts).toEqual({
      udp: 6,
      tcp: 0,
      answered: 2,
      noData: 1,
      noSuchName: 1,
      unavailable: 1,
      refused: 1,
      rejected: 0,
      dropped: 0,
      truncated: 1,
    });
  });
});

test("whatever bytes come in: nothing is thrown, answers are answers to them and no longer than allowed", async () => {
  const seed = fuzzSeed();
  const random = makeFuzzRandom(seed);
  const { resolver } = resolverOf(many(100));
  const names = ["c1.m7.lars", "c1.m404.lars", "c1.m503.lars", "1-2-3-4.ip.lars", "lars", "m1.lars", "example.com"];
  const outcomes = { none: 0, short: 0, decoded: 0 };
  for (let i = 0; i < fuzzCount(20_000); i++) {
    const type = random.pick(["A", "SRV", "TXT", "AAAA", "SOA", "ANY"]);
    const asking = random.int(0, 1) === 0 ? { type } : { type, edns: random.int(0, 65_535) };
    let bytes =
      random.int(0, 9) === 0 ? random.bytes(random.int(0, 80)) : new Uint8Array(query(random.pick(names), asking));
    for (let changes = random.int(0, 4); changes > 0 && bytes.length > 0; changes--) {
      bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    }
    if (random.int(0, 5) === 0) bytes = bytes.slice(0, random.int(0, bytes.length));
    const input = Uint8Array.from(bytes);
    const transport = random.pick(["udp", "tcp"] as const);
    const told = resolver.askAgainOverTcp(bytes);
    const reply = await resolver.answer(bytes, transport);
    const context = `seed ${seed}, case ${i}: ${Buffer.from(input).toString("hex")}`;
    if (!(told === undefined || told.length <= input.length)) throw new Error(`too long: ${context}`);
    if (Buffer.compare(bytes, input) !== 0) throw new Error(`the message was changed: ${context}`);
    if (reply === undefined) {
      outcomes.none++;
      if (input.length >= 12 && (input[2]! & 0x80) === 0) throw new Error(`no answer: ${context}`);
      continue;
    }
    if (reply[0] !== input[0] || reply[1] !== input[1] || (reply[2]! & 0x80) === 0)
      throw new Error(`header: ${context}`);
    if (reply.length === 12) {
      outcomes.short++;
      continue;
    }
    outcomes.decoded++;
    const { additionals } = decode(reply);
    const hasEdns = additionals.some((record) => record.type === "OPT");
    const limit = transport === "tcp" ? 65_535 : hasEdns ? 1232 : 512;
    if (reply.length > limit) throw new Error(`${reply.length} bytes: ${context}`);
  }
  // Each way was gone often.
  for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(100);
  expect(formatIp(many(1)[0]!.ip)).toBe("10.0.0.1");
});

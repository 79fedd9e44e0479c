// Random and mutated datagrams at the agent's ports, while a caller beside them works as always. LARS_FUZZ_COUNT says
// how many (default 25,000, under test:all 100,000), LARS_FUZZ_SEED which.
//
// UDP drops what comes faster than it is read, and a fuzz that is mostly dropped by the kernel tests nothing. So each
// sender sends a few and then asks an ordinary question by the same socket: its answer says that all before it were read.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { decodeGetHostRequest, makeGetHostRequest } from "../../src/wire/host-codec.ts";
import { decodeReportRequest, makeReportRequest } from "../../src/wire/report-codec.ts";
import { decodeGetRouteRequest, makeGetRouteRequest } from "../../src/wire/route-codec.ts";
import { eventually } from "../support/eventually.ts";
import { type FuzzRandom, fuzzSeed, makeFuzzRandom, processFuzzCount } from "../support/fuzz-random.ts";
import { type Lars, startLars, sumMetric } from "../support/lars-processes.ts";
import { UdpCaller } from "../support/udp-caller.ts";
import { getHost, getRoute, mutate, report } from "./frames.ts";
import { Witness } from "./witness.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const SEED = fuzzSeed();
const COUNT = processFuzzCount();
/** What the system may remember of invented module numbers and keep as free heap, however long this goes on. */
const MAY_GROW_BYTES = 256 * 1_048_576;
/** The kernel's default receive buffer holds 256 small datagrams or a few large ones. */
const BATCH = 128;
const BATCH_BYTES = 48 * 1024;
const LARGEST_BODY = 65_499;
const MODULE = { modid: 8, cmdid: 0 };

let lars: Lars;

beforeAll(async () => {
  lars = await startLars();
  const hosts = [1, 2].map((n) => ({ ip: `10.0.0.${n}`, port: 80 }));
  for (const cmdid of [0, 1, 2]) await lars.admin("PUT", `/v1/routes/${MODULE.modid}/${cmdid}`, { hosts });
}, 30_000);
afterAll(() => lars.stop());

const DROPS = ["too_short", "length_mismatch", "unknown_id", "malformed"] as const;
type Fate = (typeof DROPS)[number] | "taken";

/** What must become of a datagram. The header is judged here; for bodies the codecs' word is taken (tested elsewhere). */
function fateOf(datagram: Uint8Array): Fate {
  if (datagram.length < 8) return "too_short";
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  if (view.getInt32(4, true) !== datagram.length - 8) return "length_mismatch";
  const { length } = datagram;
  switch (view.getInt32(0, true)) {
    case 4:
      return decodeGetHostRequest(datagram, 8, length, makeGetHostRequest()) ? "taken" : "malformed";
    case 6:
      return decodeReportRequest(datagram, 8, length, makeReportRequest()) ? "taken" : "malformed";
    case 7:
      return decodeGetRouteRequest(datagram, 8, length, makeGetRouteRequest()) ? "taken" : "malformed";
    default:
      return "unknown_id";
  }
}

function validFrame(random: FuzzRandom): Uint8Array {
  const known = random.int(0, 9) > 0;
  const modid = known ? MODULE.modid : random.int(-0x8000_0000, 0x7fff_ffff);
  const cmdid = random.int(0, 2);
  switch (random.int(0, 3)) {
    case 0:
      return report(modid, cmdid, 0x0a00_0001 + random.int(0, 2), 80, random.int(-1, 1));
    case 1:
      return getRoute(modid, cmdid, 7);
    case 2:
      return getHost(random.int(0, 0xffff_ffff), modid, cmdid, random.bytes(random.int(1, 40)));
    default:
      return getHost(random.int(0, 0xffff_ffff), modid, cmdid);
  }
}

interface Sent {
  total: number;
  readonly fates: Record<Fate, number>;
}

async function sendAll(port: number, count: number, random: FuzzRandom, sent: Sent): Promise<void> {
  const caller = await UdpCaller.connect(port);
  // Its answer may be lost on the way to this sender, who is sent more than it can hold: then it asks again.
  const barrier = async (): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      sent.total++;
      try {
        await caller.getHost(MODULE.modid, MODULE.cmdid, 1000);
        return;
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  };
  let inBatch = 0;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const frame = validFrame(random);
    const datagram = random.int(0, 9) === 0 ? frame : mutate(random, frame, validFrame(random), LARGEST_BODY);
    if (inBatch >= BATCH || bytes + datagram.length > BATCH_BYTES) {
      await barrier();
      inBatch = 0;
      bytes = 0;
    }
    while (!caller.send(datagram)) await barrier();
    inBatch++;
    bytes += datagram.length;
    sent.total++;
    sent.fates[fateOf(datagram)]++;
  }
  await barrier();
  caller.close();
}

test(
  `${COUNT} random and mutated datagrams harm nobody, and each is accounted for (seed ${SEED})`,
  async () => {
    const [agent] = lars.agent;
    const witness = await Witness.begin(lars);
    const before = await agent!.metrics();
    const sent: Sent = { total: 0, fates: { taken: 0, too_short: 0, length_mismatch: 0, unknown_id: 0, malformed: 0 } };
    const startedAtMs = performance.now();
    await Promise.all(
      [0, 1, 2].map((shard) =>
        sendAll(agent!.ports.udp + shard, Math.ceil(COUNT / 3), makeFuzzRandom(SEED + shard), sent),
      ),
    );
    const seconds = (performance.now() - startedAtMs) / 1000;
    await witness.stop();
    const measured = await witness.check(MAY_GROW_BYTES);

    await eventually(async () => {
      const after = await agent!.metrics();
      const grown = (counter: string): number => {
        const name = `lars_agent_shard_${counter}_total`;
        return sumMetric(after, name) - sumMetric(before, name);
      };
      expect(grown("dropped_by_socket")).toBe(0);
      for (const reason of DROPS) expect([reason, grown(`dropped_${reason}`)]).toEqual([reason, sent.fates[reason]]);
      // What was handed on to another shard is seen twice.
      const once = grown("datagrams") - (grown("forwarded") - grown("forward_dropped"));
      // The witness asked three times more as it checked that all shards answer.
      expect(once).toBe(sent.total + witness.datagrams + 3);
    });
    if (COUNT > 100_000) {
      const { taken, ...dropped } = sent.fates;
      process.stderr.write(
        `${sent.total} datagrams in ${seconds.toFixed(1)} s, ${taken} taken, dropped ${JSON.stringify(dropped)}; ${measured}\n`,
      );
    }
  },
  60_000 + COUNT,
);

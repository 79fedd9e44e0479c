// Policies `adaptive` and `least_request`: where calls go when hosts differ, and how they come back.
import { describe, expect, test } from "bun:test";
import { makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene, type SceneOptions } from "./steered-scene.ts";

interface Call {
  readonly ip: number;
  readonly endMs: number;
}

/** Open-loop calls, each of which takes what its host takes. Returns each host's part of the calls. */
function load(scene: Scene, seconds: number, perSecond: number, tookMs: (ip: number) => number): Map<number, number> {
  const shares = new Map<number, number>();
  const underWay: Call[] = [];
  const fromMs = scene.nowMs;
  const calls = seconds * perSecond;
  const end = (untilMs: number): void => {
    underWay.sort((a, b) => a.endMs - b.endMs);
    while (underWay.length > 0 && underWay[0]!.endMs <= untilMs) {
      const call = underWay.shift()!;
      scene.nowMs = call.endMs;
      scene.report(call.ip, "+", tookMs(call.ip));
    }
    scene.nowMs = untilMs;
  };
  for (let i = 0; i < calls; i++) {
    end(fromMs + (i * 1000) / perSecond);
    const ip = scene.pick();
    shares.set(ip, (shares.get(ip) ?? 0) + 1 / calls);
    underWay.push({ ip, endMs: scene.nowMs + tookMs(ip) });
  }
  end(fromMs + seconds * 1000);
  while (underWay.length > 0) end(scene.nowMs + 10);
  return shares;
}

const FIVE = [1, 2, 3, 4, 5];
const scene = (hosts: ConstructorParameters<typeof Scene>[0] = FIVE, options: SceneOptions = {}): Scene =>
  new Scene(hosts, { policy: "adaptive", random: makeFuzzRandom(11).float, ...options });

describe("adaptive", () => {
  test("equal hosts get equal shares although their calls vary by a quarter", () => {
    const random = makeFuzzRandom(2);
    const shares = load(scene(), 20, 200, () => 20 + (random.float() - 0.5) * 17);
    for (const ip of FIVE) expect(Math.abs(shares.get(ip)! - 0.2)).toBeLessThan(0.03);
  });

  test("a host that takes ten times as long gets next to nothing, and most of its share within 10 s when it is well", () => {
    const module = scene();
    load(module, 5, 200, () => 20);
    const slow = load(module, 10, 200, (ip) => (ip === 3 ? 200 : 20));
    expect(slow.get(3) ?? 0).toBeLessThan(0.02);
    load(module, 10, 200, () => 20);
    const after = load(module, 5, 200, () => 20);
    expect(after.get(3)!).toBeGreaterThan(0.16);
  });

  test("a host that stops answering is left out by the calls that do not come back, before anybody reports one", () => {
    const module = scene();
    load(module, 5, 200, () => 20);
    const shares = load(module, 2, 200, (ip) => (ip === 3 ? 60_000 : 20));
    expect((shares.get(3) ?? 0) * 400).toBeLessThan(16);
  });

  test("a host that never answers its first calls is left out as well", () => {
    const shares = load(scene(), 2, 200, (ip) => (ip === 3 ? 60_000 : 20));
    expect((shares.get(3) ?? 0) * 400).toBeLessThan(20);
  });

  test("a host that takes twice as long carries less, not nothing", () => {
    const shares = load(scene([1, 2]), 10, 200, (ip) => (ip === 1 ? 20 : 40));
    expect(shares.get(2)!).toBeGreaterThan(0.1);
    expect(shares.get(2)!).toBeLessThan(0.45);
  });

  test("a host that fails fast is not preferred for it", () => {
    const module = scene(FIVE, {
      steering: { consecutive_failures: 1000, min_success_rate: 0, outlier_deviations: 0 },
    });
    module.traffic(5, 200, [], 20);
    let failing = 0;
    for (let i = 0; i < 2000; i++) {
      module.nowMs += 5;
      const ip = module.pick();
      if (ip === 2) failing++;
      module.report(ip, ip === 2 ? "x" : "+", ip === 2 ? 1 : 20);
    }
    expect(failing / 2000).toBeLessThan(0.05);
  });
});

describe("least_request", () => {
  test("sends fewer calls where more are in flight", () => {
    const module = scene([1, 2, 3], { policy: "least_request" });
    const shares = load(module, 10, 200, (ip) => (ip === 1 ? 200 : 20));
    expect(shares.get(1)!).toBeLessThan(0.22);
    expect(shares.get(1)!).toBeGreaterThan(0.03);
  });

  test("knows what in flight means for a heavier host: 3:1 stay 3:1 under load", () => {
    const hosts = [
      { ip: 1, weight: 300 },
      { ip: 2, weight: 100 },
    ];
    const shares = load(scene(hosts, { policy: "least_request" }), 10, 400, () => 50);
    expect(shares.get(1)!).toBeCloseTo(0.75, 1);
  });
});

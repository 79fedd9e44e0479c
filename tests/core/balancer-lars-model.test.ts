// Policy `lars` against a second telling of its rule, as naive as can be: two arrays of plain objects, searched and
// spliced. Random histories in virtual time must go alike. LARS_FUZZ_SEED chooses another history, LARS_FUZZ_COUNT
// how many.
import { expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { SHEDDING } from "../../src/core/balancer.ts";
import { LarsBalancer, type LarsParameters } from "../../src/core/balancer-lars.ts";
import { type FuzzRandom, fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";

interface ModelHost {
  ip: number;
  vsucc: number;
  verr: number;
  rsucc: number;
  rerr: number;
  continSucc: number;
  continErr: number;
  since: number;
}

class Model {
  idle: ModelHost[] = [];
  overload: ModelHost[] = [];
  count = 0;

  constructor(readonly p: LarsParameters) {}

  private idleHost(ip: number, now: number): ModelHost {
    return { ip, vsucc: this.p.init_succ_cnt, verr: 0, rsucc: 0, rerr: 0, continSucc: 0, continErr: 0, since: now };
  }

  pick(): number | "shed" {
    const take = (list: ModelHost[]): number => {
      const host = list.shift()!;
      list.push(host);
      return host.ip;
    };
    if (this.overload.length === 0) return this.idle.length === 0 ? "shed" : take(this.idle);
    if (this.count >= this.p.probe_num) {
      this.count = 0;
      return take(this.overload);
    }
    this.count = this.count + 1;
    return this.idle.length === 0 ? "shed" : take(this.idle);
  }

  report(ip: number, ok: boolean, now: number): void {
    const { p } = this;
    const inIdle = this.idle.find((host) => host.ip === ip);
    const host = inIdle ?? this.overload.find((other) => other.ip === ip);
    if (host === undefined) return;
    if (ok) {
      host.vsucc += 1;
      host.rsucc += 1;
      host.continSucc += 1;
      host.continErr = 0;
    } else {
      host.verr += 1;
      host.rerr += 1;
      host.continErr += 1;
      host.continSucc = 0;
    }
    const toOverload = (): void => {
      this.idle = this.idle.filter((other) => other !== host);
      this.overload.push({ ...this.idleHost(ip, now), vsucc: 0, verr: p.init_err_cnt });
    };
    const toIdle = (): void => {
      this.overload = this.overload.filter((other) => other !== host);
      this.idle.push(this.idleHost(ip, now));
    };
    if (inIdle !== undefined) {
      if (!ok && host.verr / (host.vsucc + host.verr) > p.err_rate) toOverload();
      else if (!ok && host.continErr >= p.contin_err_limit) toOverload();
      else if (now - host.since >= p.idle_timeout * 1000) {
        if (host.rerr / (host.rsucc + host.rerr) >= p.window_err_rate) toOverload();
        else Object.assign(host, this.idleHost(ip, now));
      }
    } else {
      if (ok && host.vsucc / (host.vsucc + host.verr) > p.succ_rate) toIdle();
      else if (ok && host.continSucc >= p.contin_succ_limit) toIdle();
      else if (now - host.since >= p.overload_timeout * 1000) toIdle();
    }
  }

  update(ips: number[], now: number): void {
    this.idle = this.idle.filter(({ ip }) => ips.includes(ip));
    this.overload = this.overload.filter(({ ip }) => ips.includes(ip));
    for (const ip of ips) {
      if (![...this.idle, ...this.overload].some((host) => host.ip === ip)) this.idle.push(this.idleHost(ip, now));
    }
  }
}

function randomParameters(random: FuzzRandom): LarsParameters {
  return {
    probe_num: random.int(1, 12),
    init_succ_cnt: random.int(1, 200),
    init_err_cnt: random.int(1, 10),
    err_rate: random.int(0, 10) / 10,
    succ_rate: random.int(0, 10) / 10,
    contin_err_limit: random.int(1, 20),
    contin_succ_limit: random.int(1, 20),
    window_err_rate: random.int(0, 10) / 10,
    idle_timeout: random.int(1, 15),
    overload_timeout: random.int(1, 15),
  };
}

function randomRoute(random: FuzzRandom): Host[] {
  const size = random.int(0, 6);
  const ips = new Set<number>();
  while (ips.size < size) ips.add(random.int(1, 8));
  return [...ips].map((ip) => makeHost(ip, 80, { weight: random.int(1, 100) }));
}

const SEED = fuzzSeed();
const HISTORIES = Math.ceil(fuzzCount(100_000) / 500);

test(`${HISTORIES} random histories of 500 steps go as the naive telling of the rule says (seed ${SEED})`, () => {
  for (let history = 0; history < HISTORIES; history++) {
    const random = makeFuzzRandom(SEED + history);
    const parameters = randomParameters(random);
    const balancer = new LarsBalancer(parameters);
    const model = new Model(parameters);
    // How well each host does changes now and then, so that hosts are ejected and come back.
    const failShare = new Map<number, number>();
    let now = random.int(0, 1e6);
    for (let step = 0; step < 500; step++) {
      const at = `seed ${SEED + history}, step ${step}`;
      const dice = random.int(0, 99);
      if (step === 0 || dice < 2) {
        const route = randomRoute(random);
        balancer.update(route, now);
        model.update(
          route.map(({ ip }) => ip),
          now,
        );
      } else if (dice < 5) {
        failShare.set(random.int(1, 8), random.float());
      } else if (dice < 8) {
        now += random.int(0, 20_000);
      } else if (dice < 15) {
        // A report of any host, also one that has left or was never there.
        const ip = random.int(1, 9);
        const ok = random.float() < 0.5;
        const host = balancer.find(ip, 80);
        if (host !== undefined) balancer.report(host, ok, 0, now);
        model.report(ip, ok, now);
      } else {
        const picked = balancer.pick(now, random.float, 0);
        const wanted = model.pick();
        if ((picked === SHEDDING ? "shed" : (picked as { ip: number }).ip) !== wanted) {
          expect(`${at}: ${JSON.stringify(picked)}`).toBe(`${at}: ${wanted}`);
        }
        if (typeof wanted === "number" && picked !== SHEDDING && random.int(0, 9) > 0) {
          const ok = random.float() >= (failShare.get(wanted) ?? 0.05);
          balancer.report(balancer.find(wanted, 80)!, ok, 0, now);
          model.report(wanted, ok, now);
        }
      }
      const ejected = [...balancer.hosts()].filter(({ available }) => !available).map(({ ip }) => ip);
      if (
        ejected.sort().join() !==
        model.overload
          .map(({ ip }) => ip)
          .sort()
          .join()
      ) {
        expect(`${at}: ejected ${ejected}`).toBe(`${at}: ejected ${model.overload.map(({ ip }) => ip).sort()}`);
      }
      now += random.int(0, 100);
    }
    const counts = balancer.describe(now).map(({ ip, succ, err }) => [ip, succ, err]);
    const wanted = [...model.idle, ...model.overload].map(({ ip, rsucc, rerr }) => [ip, rsucc, rerr]);
    expect(counts.sort()).toEqual(wanted.sort());
  }
});

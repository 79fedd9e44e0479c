import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type HealthCheckSpec,
  Registration,
  type RegistrationSpec,
  type RegistryAnswer,
  type RegistryCall,
} from "../../src/agent/registration.ts";
import { parseIp } from "../../src/core/endpoint.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

const CHECK: HealthCheckSpec = { path: undefined, intervalMs: 5000, timeoutMs: 1000, rise: 2, fall: 3 };

function specOf(given: Partial<RegistrationSpec> = {}): RegistrationSpec {
  return {
    id: "a",
    modid: 1,
    cmdid: 1,
    ip: parseIp("10.0.0.1")!,
    port: 80,
    weight: undefined,
    zone: undefined,
    ttlSeconds: 9,
    check: CHECK,
    ...given,
  };
}

const OWN = specOf({ check: undefined });
const done: RegistryAnswer = { outcome: "done", revision: 7, changed: true };
const away: RegistryAnswer = { outcome: "away", reason: "nobody there" };
const gone: RegistryAnswer = { outcome: "gone" };
const forbidden: RegistryAnswer = { outcome: "refused", status: 403, detail: "not your module" };

/** One line of a table: at which second, what happens, which call is due then, how it is answered, the state after. */
type Line = readonly [
  second: number,
  event: "pass" | "fail" | "beat" | "leave" | "pause" | "tick" | RegistrationSpec,
  call?: RegistryCall | undefined,
  answer?: RegistryAnswer | undefined,
  state?: string,
];

function play(lines: readonly Line[], registration = new Registration(specOf(), 0)): Registration {
  lines.forEach(([second, event, call, answer, state], i) => {
    const nowMs = second * 1000;
    if (event === "pass") registration.checked(true, "", nowMs);
    else if (event === "fail") registration.checked(false, "refused", nowMs);
    else if (event === "beat") registration.heartbeat(nowMs);
    else if (event === "leave") registration.leave(3000, nowMs);
    else if (event === "pause") registration.pause(3000, nowMs);
    else if (event !== "tick") registration.replace(event, nowMs);
    const due = registration.due(nowMs);
    expect(`line ${i}: ${due}`).toBe(`line ${i}: ${call}`);
    if (due !== undefined && answer !== undefined) registration.answered(due, answer, nowMs, 0.999_999);
    if (state !== undefined) expect(`line ${i}: ${registration.state(nowMs)}`).toBe(`line ${i}: ${state}`);
  });
  return registration;
}

describe("with a check", () => {
  test("a service is registered once its check passed, the first time after 1 pass, and renewed after a third of its TTL", () => {
    play([
      [0, "tick", undefined, undefined, "starting"],
      [1, "fail", undefined, undefined, "starting"],
      [2, "pass", "register", done, "passing"],
      [4.9, "tick"],
      [5, "tick", "renew", done, "passing"],
      [7.9, "tick"],
      [8, "tick", "renew", done, "passing"],
    ]);
  });

  test("3 failures in a row take it out at once, not at its TTL; 2 passes in a row bring it back", () => {
    play([
      [0, "pass", "register", done, "passing"],
      [0.1, "fail"],
      [0.2, "fail"],
      [0.3, "pass"],
      [0.4, "fail"],
      [0.5, "fail", undefined, undefined, "passing"],
      [0.6, "fail", "deregister", done, "failing"],
      [0.7, "fail"],
      [0.8, "pass"],
      [0.9, "fail"],
      [1.0, "pass", undefined, undefined, "failing"],
      [1.1, "pass", "register", done, "passing"],
    ]);
  });

  test("a service that never passes is never registered, and says why", () => {
    const registration = play([
      [0, "fail"],
      [5, "fail", undefined, undefined, "starting"],
      [10, "fail", undefined, undefined, "failing"],
      [15, "pass"],
      [20, "fail", undefined, undefined, "failing"],
    ]);
    expect(registration.lastError).toBe("refused");
    expect(registration.leaseRemainingMs(20_000)).toBe(0);
  });

  test("a renewal that finds the lease gone registers again in the same second", () => {
    play([
      [0, "pass", "register", done, "passing"],
      [3, "tick", "renew", gone, "waiting"],
      [3, "tick", "register", done, "passing"],
    ]);
  });

  test("while dns is away it is tried again after 200, 400 ms … to 2 s, and the health that changes meanwhile is what counts", () => {
    play([
      [0, "pass", "register", away, "waiting"],
      [0.19, "tick"],
      [0.2, "tick", "register", away, "waiting"],
      [0.59, "tick"],
      [0.6, "tick", "register", away, "waiting"],
      [1.4, "tick", "register", away, "waiting"],
      [3.0, "tick", "register", away, "waiting"],
      [4.9, "tick"],
      [5.0, "tick", "register", away, "waiting"],
      // An answer may have been lost, so dns may hold it: a service that fails is taken out there all the same.
      [5.1, "fail"],
      [5.2, "fail"],
      [5.3, "fail", "deregister", away, "failing"],
      [5.5, "tick", "deregister", done, "failing"],
      [100, "tick"],
    ]);
  });

  test("what was read from disk is renewed at once, and registered anew when the service was seen", () => {
    const kept = { spec: specOf(), mayHold: true, draining: false };
    play(
      [
        [0, "tick", "renew", done, "passing"],
        [1, "pass", "register", done, "passing"],
        [4, "tick", "renew", done, "passing"],
      ],
      Registration.restored(kept, 3000, 0),
    );
  });

  test("what was read from disk and is gone at dns waits for its check: the service may have ended meanwhile", () => {
    const kept = { spec: specOf(), mayHold: true, draining: false };
    play(
      [
        [0, "tick", "renew", gone, "starting"],
        [1, "tick"],
        [2, "pass", "register", done, "passing"],
      ],
      Registration.restored(kept, 3000, 0),
    );
  });

  test("a second PUT at the same address is registered at once; at another one when the check passed there", () => {
    play([
      [0, "pass", "register", done, "passing"],
      [1, specOf({ weight: 500 }), "register", done, "passing"],
      [2, specOf({ port: 81 }), undefined, undefined, "starting"],
      // The old address is not renewed: its lease runs out by itself.
      [6, "tick"],
      [7, "pass", "register", done, "passing"],
    ]);
    play([
      [0, "pass", "register", done, "passing"],
      [1, specOf({ port: 81 })],
      [2, "fail"],
      [3, "fail"],
      [4, "fail", "deregister", done, "failing"],
      // Its owner says that it begins afresh: 1 pass is enough again.
      [5, specOf({ port: 81 }), undefined, undefined, "starting"],
      [6, "pass", "register", done, "passing"],
    ]);
  });

  test("an answer to what was registered before a second PUT does not count for the second", () => {
    const registration = new Registration(specOf(), 0);
    registration.checked(true, "", 0);
    expect(registration.due(0)).toBe("register");
    registration.replace(specOf({ weight: 1 }), 10);
    expect(registration.due(10)).toBeUndefined();
    registration.answered("register", done, 20, 0);
    expect(registration.state(20)).toBe("waiting");
    expect(registration.due(20)).toBe("register");
  });

  test("what is refused is told, and tried again after 30 to 60 s, since people may allow it", () => {
    const registration = play([
      [0, "pass", "register", forbidden, "refused"],
      [59, "tick"],
      [60, "tick", "register", done, "passing"],
    ]);
    expect(registration.lastError).toBe("");
    const refused = play([[0, "pass", "register", forbidden, "refused"]]);
    expect(refused.lastError).toBe("the dns service refuses it (403): not your module");
  });
});

describe("leaving", () => {
  test("a service is draining, renewed meanwhile, and removed after the grace", () => {
    const registration = play(
      [
        [0, "pass", "register", done, "passing"],
        [1, "leave", "drain", done, "draining"],
        [1.9, "tick"],
        [2, "tick", "renew", done, "draining"],
        [3, "tick", "renew", done, "draining"],
        [4, "tick", "deregister", done, "draining"],
      ],
      new Registration(specOf({ ttlSeconds: 3 }), 0),
    );
    expect(registration.left(4000)).toBe(true);
  });

  test("what was never registered leaves without a call", () => {
    expect(play([[0, "leave", undefined, undefined, "draining"]]).left(0)).toBe(true);
  });

  test("when nobody hears of the draining within the grace it is removed, as soon as somebody answers", () => {
    const registration = play([
      [0, "pass", "register", done, "passing"],
      [1, "leave", "drain", away, "draining"],
      [2, "tick", "drain", away, "draining"],
      [4, "tick", "deregister", away, "draining"],
      [600, "tick", "deregister", gone, "draining"],
    ]);
    // Nobody was told to stay away before: the grace is for those who picked just now.
    expect(registration.left(602_999)).toBe(false);
    expect(registration.left(603_000)).toBe(true);
  });

  test("a PUT while it drains takes it back", () => {
    play([
      [0, "pass", "register", done, "passing"],
      [1, "leave", "drain", done, "draining"],
      [2, specOf(), "register", done, "passing"],
      [3, "leave", "drain", done, "draining"],
      [6, "tick", "deregister", done, "draining"],
    ]);
  });

  test("an agent that ends drains and removes, and keeps the registration for the next agent", () => {
    const registration = play([
      [0, "pass", "register", done, "passing"],
      [1, "pause", "drain", done, "draining"],
      [4, "tick", "deregister", done, "draining"],
    ]);
    expect(registration.left(4000)).toBe(true);
    expect(registration.kept).toEqual({ spec: specOf(), mayHold: false, draining: false });
    play(
      [
        [0, "tick", undefined, undefined, "starting"],
        [1, "pass", "register", done, "passing"],
      ],
      Registration.restored(registration.kept, 3000, 0),
    );
  });

  test("an agent that was killed while it drained goes on removing", () => {
    const registration = play([
      [0, "pass", "register", done, "passing"],
      [1, "leave", "drain", done, "draining"],
    ]);
    const restored = Registration.restored(registration.kept, 3000, 0);
    play(
      [
        [0, "tick", "drain", done, "draining"],
        [3, "tick", "deregister", done, "draining"],
      ],
      restored,
    );
    expect(restored.left(3000)).toBe(true);
  });
});

describe("without a check", () => {
  const DAY_MS = 86_400_000;

  test("the PUT itself is a sign of life, and heartbeats within the TTL keep it", () => {
    play(
      [
        [0, "tick", "register", done, "passing"],
        [3, "tick", "renew", done, "passing"],
        [8, "beat", "renew", done, "passing"],
        [11, "tick", "renew", done, "passing"],
        [16.9, "tick", "renew", done, "passing"],
      ],
      new Registration(OWN, 0),
    );
  });

  test("9 s without a heartbeat, its TTL, and it is removed and forgotten", () => {
    const registration = play(
      [
        [0, "tick", "register", done, "passing"],
        [3, "tick", "renew", done, "passing"],
        [9, "tick", "deregister", done, "failing"],
      ],
      new Registration(OWN, 0),
    );
    expect(registration.lastError).toBe("no heartbeat for 9 s, the TTL is 9 s");
    expect(registration.isForgotten(DAY_MS, 9000)).toBe(false);
    expect(registration.due(9100)).toBeUndefined();
    expect(registration.isForgotten(DAY_MS, 9100)).toBe(true);
  });

  test("a heartbeat that comes while it is being removed is in time", () => {
    play(
      [
        [0, "tick", "register", done, "passing"],
        [9, "tick", "deregister", away, "failing"],
        [9.1, "beat", "register", done, "passing"],
      ],
      new Registration(OWN, 0),
    );
  });

  test("an hour in which the agent stood still is no silence of the service", () => {
    const registration = play([[0, "tick", "register", done, "passing"]], new Registration(OWN, 0));
    registration.stalled(3_600_000);
    play([[3600, "tick", "renew", done, "passing"]], registration);
    play([[3609, "tick", "deregister", done, "failing"]], registration);
  });

  test("after a restart of the agent the service has its TTL for the next heartbeat", () => {
    play(
      [
        [0, "tick", "renew", done, "passing"],
        [8, "beat", "register", done, "passing"],
        [17, "tick", "deregister", done, "failing"],
      ],
      Registration.restored({ spec: OWN, mayHold: true, draining: false }, 3000, 0),
    );
  });
});

test("a service that has not passed for a day is forgotten, one that is well or may be held at dns is not", () => {
  const DAY_MS = 86_400_000;
  const never = play([[0, "fail"]]);
  expect(never.isForgotten(DAY_MS, DAY_MS - 1)).toBe(false);
  expect(never.isForgotten(DAY_MS, DAY_MS)).toBe(true);
  const well = play([[0, "pass", "register", done, "passing"]]);
  expect(well.isForgotten(DAY_MS, 10 * DAY_MS)).toBe(false);
  const held = play([
    [0, "pass", "register", done, "passing"],
    [1, "fail"],
    [2, "fail"],
    [3, "fail", "deregister", away, "failing"],
  ]);
  expect(held.isForgotten(DAY_MS, 10 * DAY_MS)).toBe(false);
});

test("whatever happens in whatever order, once all is well dns holds exactly what it should", () => {
  // The model is a dns service that may lose a request, lose its answer, or forget a lease.
  const step = fc.record({
    event: fc.constantFrom("pass", "fail", "put", "move", "leave", "tick", "expire", "restart"),
    afterMs: fc.integer({ min: 0, max: 4000 }),
    fate: fc.constantFrom("well", "well", "lost", "unheard"),
    random: fc.double({ min: 0, max: 0.999, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, endsWell) => {
      let held: { spec: RegistrationSpec; draining: boolean } | undefined;
      let nowMs = 0;
      let spec = specOf();
      let registration = new Registration(spec, nowMs);
      const exchange = (fate: string, random: number) => {
        const call = registration.due(nowMs);
        if (call === undefined) return;
        const { spec: sent } = registration;
        let answer: RegistryAnswer = away;
        if (fate !== "lost") {
          answer = done;
          if (call === "register" || call === "drain") held = { spec: sent, draining: call === "drain" };
          else if (held === undefined) answer = gone;
          else if (call === "deregister") held = undefined;
        }
        registration.answered(call, fate === "unheard" ? away : answer, nowMs, random);
      };
      for (const { event, afterMs, fate, random } of steps) {
        nowMs += afterMs;
        if (event === "pass") registration.checked(true, "", nowMs);
        else if (event === "fail") registration.checked(false, "x", nowMs);
        else if (event === "put" || event === "move") {
          spec = event === "put" ? { ...spec, weight: nowMs } : { ...spec, port: 80 + (nowMs % 100) };
          registration.replace(spec, nowMs);
        } else if (event === "leave") registration.leave(1000, nowMs);
        else if (event === "expire") held = undefined;
        else if (event === "restart") registration = Registration.restored(registration.kept, 1000, nowMs);
        exchange(fate, random);
      }
      const leaving = registration.leaving;
      for (let i = 0; i < 100; i++) {
        nowMs += 1000;
        registration.checked(endsWell, "x", nowMs);
        exchange("well", 0.5);
      }
      if (leaving || !endsWell) expect(held).toBeUndefined();
      else expect(held).toEqual({ spec, draining: false });
      if (leaving) expect(registration.left(nowMs)).toBe(true);
    }),
    { numRuns: propertyRuns(2000), seed: 4 },
  );
});

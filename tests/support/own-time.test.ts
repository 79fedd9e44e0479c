import { expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { HEADER_BYTES, MSG_GET_HOST_RESPONSE, sealFrame } from "../../src/wire/frame.ts";
import { encodeGetHostSuccess, GET_HOST_RESPONSE_BYTES } from "../../src/wire/host-codec.ts";
import { OwnTime } from "./own-time.ts";
import { SteadyCaller } from "./steady-caller.ts";

test("200 ticks 5 ms apart are a second; one tick after a second is 25 ms, and what was missed is told", () => {
  const time = new OwnTime(1000);
  for (let nowMs = 1005; nowMs <= 2000; nowMs += 5) time.tick(nowMs);
  expect([time.ms, time.heldUpMs, time.longestHeldUpMs]).toEqual([1000, 0, 0]);
  time.tick(3000);
  expect([time.ms, time.heldUpMs, time.longestHeldUpMs]).toEqual([1025, 975, 975]);
  time.tick(3100);
  expect([time.ms, time.heldUpMs, time.longestHeldUpMs]).toEqual([1050, 1050, 975]);
});

test("a caller that did not run for three of its time-outs still takes the answer in its socket; without one it gives up", async () => {
  const agent = createSocket("udp4");
  const silent = 9;
  agent.on("message", (_request, { port, address }) => {
    const answer = new Uint8Array(HEADER_BYTES + GET_HOST_RESPONSE_BYTES);
    const seq = answered++ === 0 ? 1 : silent;
    const end = sealFrame(
      answer,
      0,
      MSG_GET_HOST_RESPONSE,
      encodeGetHostSuccess(answer, HEADER_BYTES, seq, 1, 0, 7, 80),
    );
    agent.send(answer.subarray(0, end), port, address);
  });
  let answered = 0;
  await new Promise<void>((resolve) => agent.bind(0, "127.0.0.1", resolve));
  const caller = await SteadyCaller.open({ port: agent.address().port, shards: 1, timeoutMs: 100 });
  try {
    const pick = caller.pick({ modid: 1, cmdid: 0 });
    const untilMs = performance.now() + 300;
    while (performance.now() < untilMs);
    expect(await pick).toMatchObject({ retcode: 0, endpoint: "0.0.0.7:80" });
    expect(await caller.pick({ modid: 1, cmdid: 0 })).toBe("timeout");
    expect(caller.timeouts).toBe(1);
  } finally {
    caller.close();
    agent.close();
  }
});

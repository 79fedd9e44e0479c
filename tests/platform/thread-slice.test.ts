// In a process of its own: a slice stays with the thread. /proc tells it, on kernels that have it.
import { expect, test } from "bun:test";

const MODULE = new URL("../../src/platform/thread-slice.ts", import.meta.url).href;

async function inChild(sliceNs: string): Promise<{ taken: boolean; before: number; after: number; nice: number }> {
  const code = `
    import { takeShortSlices } from ${JSON.stringify(MODULE)};
    import { existsSync, readFileSync } from "node:fs";
    import { getPriority, setPriority } from "node:os";
    const slice = () => {
      const text = existsSync("/proc/self/sched") ? readFileSync("/proc/self/sched", "utf8") : "";
      return Number(/^se\\.slice\\s*:\\s*(\\d+)/m.exec(text)?.[1] ?? -1);
    };
    setPriority(7);
    const before = slice();
    const taken = takeShortSlices(${sliceNs});
    console.log(JSON.stringify({ taken, before, after: slice(), nice: getPriority() }));
  `;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(said);
}

const isPossible = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

test.each([
  ["100 us is what a thread gets that asks for a short slice, and it keeps its priority", "", 100_000],
  ["a slice shorter than there are is brought to 100 us and not refused", "1n", 100_000],
])("%s", async (_title, asked, expected) => {
  const { taken, before, after, nice } = await inChild(asked);
  expect({ taken, nice }).toEqual({ taken: isPossible, nice: 7 });
  // Kernels without slices of a thread's own tell none, or leave it as it was.
  expect([expected, before]).toContain(after);
  if (Bun.semver.satisfies((await import("node:os")).release().split("-")[0]!, ">=6.12.0") && before > 0) {
    expect(after).toBe(expected);
  }
});

test.skipIf(!isPossible || Bun.which("chrt") === null)("a thread that was given another policy keeps it", async () => {
  const code = `
    import { takeShortSlices } from ${JSON.stringify(MODULE)};
    const taken = takeShortSlices();
    console.log(taken, Bun.spawnSync(["chrt", "-p", String(process.pid)]).stdout.toString());
  `;
  const child = Bun.spawn(["chrt", "-b", "0", process.execPath, "-e", code], { stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  expect(said).toMatch(/^false [\s\S]*SCHED_BATCH/);
});

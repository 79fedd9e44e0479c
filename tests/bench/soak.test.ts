import { describe, expect, test } from "bun:test";
import { drawSoak } from "../../bench/soak/plot.ts";
import { ends, type Part, type Sample, slopePerHour } from "../../bench/soak/samples.ts";

function sample(atSeconds: number, fields: Partial<Sample>): Sample {
  const zero = { agentMb: 0, dnsMb: 0, reportMb: 0, mariadbMb: 0, agentCpu: 0, dnsCpu: 0, reportCpu: 0 };
  const waits = { p50us: 0, p99us: 0, p999us: 0, floorP99us: 0, httpP99us: 0, heartbeatP99us: 0 };
  const counts = { pairs: 0, picks: 0, heartbeats: 0, registrations: 0, changes: 0, failed: 0 };
  return { atSeconds, ...zero, ...waits, ...counts, ...fields };
}

/** Forty samples, a quarter of a minute apart. */
const samplesOf = (fields: (i: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: 40 }, (_, i) => sample((i + 1) * 15, fields(i)));

describe("a long run's samples", () => {
  test("1 MB more every 15 s is 240 MB an hour; a start that grows in the first quarter and then stays is 0", () => {
    const growing = samplesOf((i) => ({ agentMb: 100 + i }));
    expect(slopePerHour(growing, "agentMb")).toBeCloseTo(240, 6);
    const settled = samplesOf((i) => ({ agentMb: Math.min(100 + i * 5, 150) }));
    expect(slopePerHour(settled, "agentMb")).toBeCloseTo(0, 6);
    expect(ends(growing, "agentMb")).toEqual([105, 135]);
  });

  test("the picture has a line for each series and part, a mark where a part ends, and is whole for parts without samples", () => {
    const part = (samples: Sample[]): Part => ({ date: "", commit: "", samples });
    const samples = samplesOf((i) => ({ agentMb: 100 + i, p99us: 1000 + i }));
    const svg = drawSoak("a < b", "two", [part(samples), part([]), part(samples)]);
    expect(svg).toContain("a &lt; b");
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg.match(/<path /g)).toHaveLength(2 * 13);
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(4);
    expect(drawSoak("t", "s", [])).not.toMatch(/NaN|Infinity|undefined/);
  });
});

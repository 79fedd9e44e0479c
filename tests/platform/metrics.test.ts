import { describe, expect, test } from "bun:test";
import { createMetrics } from "../../src/platform/metrics.ts";
import { addProcessMetrics } from "../../src/platform/process-metrics.ts";
import { version } from "../../src/platform/version.ts";
import { eventually } from "../support/eventually.ts";

async function sampleLines(metrics: ReturnType<typeof createMetrics>, name: string): Promise<string[]> {
  return (await metrics.render()).split("\n").filter((line) => line.startsWith(name));
}

describe("metrics", () => {
  test("are prefixed with the process, typed and explained", async () => {
    const metrics = createMetrics("dns");
    metrics.counter("frames_total", "Frames received", ["kind"]).inc(2, { kind: "good" });
    metrics.gauge("agents", "Agents connected").set(3);
    const text = await metrics.render();
    expect(text).toContain("# HELP lars_dns_frames_total Frames received\n# TYPE lars_dns_frames_total counter\n");
    expect(text).toContain('lars_dns_frames_total{kind="good"} 2\n');
    expect(text).toContain("# TYPE lars_dns_agents gauge\nlars_dns_agents 3\n");
    expect(metrics.contentType).toStartWith("text/plain");
  });

  test("that are read at export show the value of that moment, labels gone included", async () => {
    const metrics = createMetrics("agent");
    let shards = [
      { labels: { shard: "0" }, value: 5 },
      { labels: { shard: "1" }, value: 7 },
    ];
    let depth = 1;
    metrics.counterFrom("picks_total", "Picks", () => shards);
    metrics.gaugeFrom("queue_depth", "Waiting", () => depth);
    expect(await sampleLines(metrics, "lars_agent_picks_total")).toEqual([
      'lars_agent_picks_total{shard="0"} 5',
      'lars_agent_picks_total{shard="1"} 7',
    ]);
    shards = [{ labels: { shard: "0" }, value: 6 }];
    depth = 0;
    expect(await sampleLines(metrics, "lars_agent_picks_total")).toEqual(['lars_agent_picks_total{shard="0"} 6']);
    expect(await sampleLines(metrics, "lars_agent_queue_depth")).toEqual(["lars_agent_queue_depth 0"]);
    expect(await metrics.render()).toContain("# TYPE lars_agent_picks_total counter");
  });

  test("a histogram counts an observation in its bucket and every larger one", async () => {
    const metrics = createMetrics("report");
    metrics.histogramFrom("flush_seconds", "Flushes", [0.1, 1], () => [{ labels: {}, counts: [0, 1, 0], sum: 0.5 }]);
    expect(await sampleLines(metrics, "lars_report_flush_seconds")).toEqual([
      'lars_report_flush_seconds_bucket{le="0.1"} 0',
      'lars_report_flush_seconds_bucket{le="1"} 1',
      'lars_report_flush_seconds_bucket{le="+Inf"} 1',
      "lars_report_flush_seconds_sum 0.5",
      "lars_report_flush_seconds_count 1",
    ]);
  });

  test("label values are escaped", async () => {
    const metrics = createMetrics("dns");
    metrics.gaugeFrom("odd", "Odd", () => [{ labels: { name: 'a"b\\c\nd' }, value: 1 }]);
    expect(await sampleLines(metrics, "lars_dns_odd")).toEqual(['lars_dns_odd{name="a\\"b\\\\c\\nd"} 1']);
  });

  test("of the process itself: memory, uptime, build", async () => {
    const metrics = createMetrics("dns");
    addProcessMetrics(metrics);
    const value = async (name: string) => Number((await sampleLines(metrics, name))[0]?.split(" ").at(-1));
    expect(await value("lars_dns_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(await value("lars_dns_uptime_seconds")).toBeGreaterThan(0);
    expect(await sampleLines(metrics, "lars_dns_build_info")).toEqual([
      `lars_dns_build_info{version="${version}",bun="${Bun.version}"} 1`,
    ]);
  });

  test("a blocked event loop shows as delay, and no longer once it runs again", async () => {
    const metrics = createMetrics("dns");
    addProcessMetrics(metrics);
    const delay = async () =>
      Number((await sampleLines(metrics, "lars_dns_event_loop_delay_seconds"))[0]?.split(" ").at(-1));
    const endMs = performance.now() + 300;
    while (performance.now() < endMs);
    expect(await delay()).toBeGreaterThan(0.05);
    await eventually(async () => (await delay()) < 0.05);
  });
});

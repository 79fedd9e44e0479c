// Metrics for Prometheus, by prom-client with a registry of our own. Its default process metrics are left out (they are
// named after another runtime, and wrong when idle); what an operator needs of them is in `process-metrics.ts`.
import { Counter, Gauge, type Metric, Registry } from "prom-client";
import type { HistogramReading, Metrics, Reading } from "./metrics-port.ts";

/** Metrics whose names begin with `lars_<process>_`. */
export function createMetrics(process: "dns" | "report" | "agent"): Metrics {
  const registry = new Registry();
  const prefix = `lars_${process}_`;
  const common = (name: string, help: string, labelNames: readonly string[] = []) => ({
    name: prefix + name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
  });
  const readAtExport = (type: "gauge" | "counter", name: string, help: string, read: () => Reading) => {
    // prom-client's own classes want the label names beforehand and own the value; a metric that is read needs neither.
    const metric = {
      name: prefix + name,
      get: async () => ({ name: prefix + name, help, type, aggregator: "sum", values: samplesOf(read()) }),
    };
    registry.registerMetric(metric as unknown as Metric);
  };
  return {
    counter(name, help, labelNames) {
      const counter = new Counter(common(name, help, labelNames));
      return { inc: (by = 1, labels) => (labels === undefined ? counter.inc(by) : counter.inc(labels, by)) };
    },
    gauge(name, help, labelNames) {
      const gauge = new Gauge(common(name, help, labelNames));
      return { set: (value, labels) => (labels === undefined ? gauge.set(value) : gauge.set(labels, value)) };
    },
    gaugeFrom: (name, help, read) => readAtExport("gauge", name, help, read),
    counterFrom: (name, help, read) => readAtExport("counter", name, help, read),
    histogramFrom(name, help, buckets, read) {
      const metric = {
        name: prefix + name,
        get: async () => ({
          name: prefix + name,
          help,
          type: "histogram",
          aggregator: "sum",
          values: read().flatMap((reading) => histogramSamples(prefix + name, buckets, reading)),
        }),
      };
      registry.registerMetric(metric as unknown as Metric);
    },
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

function samplesOf(reading: Reading): { value: number; labels: Record<string, string> }[] {
  if (typeof reading === "number") return [{ value: reading, labels: {} }];
  return reading.map(({ labels, value }) => ({ value, labels: { ...labels } }));
}

/** A bucket's sample says how many were up to its bound, those of smaller buckets included. */
function histogramSamples(name: string, buckets: readonly number[], { labels, counts, sum }: HistogramReading) {
  let total = 0;
  const samples = buckets.map((bound, i) => {
    total += counts[i] ?? 0;
    return { metricName: `${name}_bucket`, labels: { le: String(bound), ...labels }, value: total };
  });
  total += counts[buckets.length] ?? 0;
  return [
    ...samples,
    { metricName: `${name}_bucket`, labels: { le: "+Inf", ...labels }, value: total },
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ];
}

// What the code counts, apart from who exports it: portable modules and tests know this interface only. Names are given
// without prefix ("frames_total"); the implementation puts `lars_<process>_` in front.
//
// Label values must come from bounded sets (route patterns, methods, reasons), never from input.

export type Labels = Record<string, string>;

/** What a metric read at export time says: one number, or one per label set. */
export type Reading = number | readonly { readonly labels: Labels; readonly value: number }[];

export interface Counter {
  inc(by?: number, labels?: Labels): void;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
}

/** Observations counted elsewhere. `counts[i]`: those above the bucket before and up to the i-th; the last: above all. */
export interface HistogramReading {
  readonly labels: Labels;
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface Metrics {
  counter(name: string, help: string, labelNames?: readonly string[]): Counter;
  gauge(name: string, help: string, labelNames?: readonly string[]): Gauge;
  /** `read` is called at every export. */
  gaugeFrom(name: string, help: string, read: () => Reading): void;
  /** As gaugeFrom, for totals that only grow and are kept elsewhere (a shard's shared memory). */
  counterFrom(name: string, help: string, read: () => Reading): void;
  /** `buckets`: upper bounds, ascending, in the unit of the name. */
  histogramFrom(name: string, help: string, buckets: readonly number[], read: () => readonly HistogramReading[]): void;
  /** The Prometheus text exposition. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** Counts nothing. For tests and for code that runs without an exporter. */
export const silentMetrics: Metrics = {
  counter: () => ({ inc() {} }),
  gauge: () => ({ set() {} }),
  gaugeFrom() {},
  counterFrom() {},
  histogramFrom() {},
  render: async () => "",
  contentType: "text/plain; version=0.0.4; charset=utf-8",
};

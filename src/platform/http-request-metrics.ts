// How many requests were answered, how and how fast. Counted in plain arrays that are read at export: through the
// metrics library a request cost 1.5 us for its label sets alone, a tenth of all that a pick over HTTP may cost.
import type { HistogramReading, Metrics, Reading } from "./metrics-port.ts";

const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The requests of one method and route pattern. */
export class RequestSeries {
  readonly statuses = new Map<number, number>();
  /** By bucket; the last are those above all. */
  readonly counts = new Float64Array(BUCKETS.length + 1);
  sum = 0;

  constructor(
    readonly method: string,
    readonly route: string,
  ) {}

  count(status: number, elapsedMs: number): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    const seconds = elapsedMs / 1000;
    this.sum += seconds;
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket++;
    this.counts[bucket]! += 1;
  }
}

/** Bounded by methods x routes: a route is a pattern, never a path. */
export class RequestMetrics {
  readonly #series = new Map<string, RequestSeries>();

  constructor(metrics: Metrics) {
    metrics.counterFrom("http_requests_total", "HTTP requests answered", () => this.#totals());
    metrics.histogramFrom(
      "http_request_duration_seconds",
      "Time from the request's arrival to its answer (streams: to their start)",
      BUCKETS,
      () => this.#durations(),
    );
  }

  of(method: string, route: string): RequestSeries {
    const name = METHODS.includes(method) ? method : "other";
    const key = `${name} ${route}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = new RequestSeries(name, route);
      this.#series.set(key, series);
    }
    return series;
  }

  #totals(): Reading {
    return [...this.#series.values()].flatMap(({ method, route, statuses }) =>
      Array.from(statuses, ([status, value]) => ({ labels: { method, route, status: String(status) }, value })),
    );
  }

  #durations(): readonly HistogramReading[] {
    return [...this.#series.values()]
      .filter(({ statuses }) => statuses.size > 0)
      .map(({ method, route, counts, sum }) => ({ labels: { method, route }, counts: [...counts], sum }));
  }
}

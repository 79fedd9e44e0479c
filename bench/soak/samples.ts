// What a long run says of itself: a sample a window, and whether what it shows stays as it was. A run may be made of
// parts, each with processes of its own; whether memory grows is asked of each part, because a start is no growth.

export interface Sample {
  /** Of its part. */
  readonly atSeconds: number;
  readonly agentMb: number;
  readonly dnsMb: number;
  readonly reportMb: number;
  readonly mariadbMb: number;
  /** Processor time used in this window, in percent of one processor. */
  readonly agentCpu: number;
  readonly dnsCpu: number;
  readonly reportCpu: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly p999us: number;
  /** Of the floor, at the same rate, right after; it tells what the machine did. */
  readonly floorP99us: number;
  readonly httpP99us: number;
  readonly heartbeatP99us: number;
  readonly pairs: number;
  readonly picks: number;
  readonly heartbeats: number;
  readonly registrations: number;
  readonly changes: number;
  /** Calls lost, refused or answered wrongly, of all kinds. */
  readonly failed: number;
}

export interface Part {
  readonly date: string;
  readonly commit: string;
  readonly samples: readonly Sample[];
}

export type Field = keyof Sample;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The slope of the straight line through a field's samples, in its unit an hour. `from`: share of the part left out first. */
export function slopePerHour(samples: readonly Sample[], field: Field, from = 0.25): number {
  const kept = samples.slice(Math.floor(samples.length * from));
  const meanX = kept.reduce((sum, { atSeconds }) => sum + atSeconds, 0) / kept.length;
  const meanY = kept.reduce((sum, sample) => sum + sample[field], 0) / kept.length;
  let covariance = 0;
  let variance = 0;
  for (const sample of kept) {
    covariance += (sample.atSeconds - meanX) * (sample[field] - meanY);
    variance += (sample.atSeconds - meanX) ** 2;
  }
  return variance === 0 ? 0 : (covariance / variance) * 3600;
}

/** Medians of a field's first and last quarter. */
export function ends(samples: readonly Sample[], field: Field): readonly [first: number, last: number] {
  const quarter = Math.max(1, Math.floor(samples.length / 4));
  const values = samples.map((sample) => sample[field]);
  return [median(values.slice(0, quarter)), median(values.slice(-quarter))];
}

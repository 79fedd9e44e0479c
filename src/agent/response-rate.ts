// How many UDP answers one address may get. A DNS answer is longer than its question and the sender of a datagram can be
// forged, so a name server that answers everything is a weapon against whoever is named as the sender.
//
// Each address has a bucket that fills at the rate and holds one second's worth. When it is empty, every second query is
// answered "use TCP" in no more bytes than it has, and the others not at all: a real asker comes through by TCP, where
// senders cannot be forged, and a victim gets less than the attacker spends. Loopback is exempt: no such sender comes in
// from a network, and all callers of this machine share it.

export type RateVerdict = "answer" | "use-tcp" | "drop";

/** About 100 bytes each. Beyond it the address that was unheard of for longest is forgotten, and begins full again. */
const MAX_ADDRESSES = 16_384;
const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;

interface Bucket {
  tokens: number;
  atMs: number;
  refused: number;
}

export class ResponseRate {
  /** Least recently heard of first. */
  readonly #buckets = new Map<string, Bucket>();
  readonly counts = { toldToUseTcp: 0, dropped: 0, forgotten: 0 };

  constructor(
    private readonly perSecond: () => number,
    private readonly maxAddresses = MAX_ADDRESSES,
  ) {}

  get addresses(): number {
    return this.#buckets.size;
  }

  judge(address: string, nowMs: number): RateVerdict {
    if (LOOPBACK.test(address)) return "answer";
    const rate = this.perSecond();
    let bucket = this.#buckets.get(address);
    if (bucket === undefined) {
      bucket = { tokens: rate, atMs: nowMs, refused: 0 };
      if (this.#buckets.size >= this.maxAddresses) {
        for (const oldest of this.#buckets.keys()) {
          this.#buckets.delete(oldest);
          break;
        }
        this.counts.forgotten++;
      }
    } else this.#buckets.delete(address);
    this.#buckets.set(address, bucket);
    bucket.tokens = Math.min(rate, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * rate);
    bucket.atMs = nowMs;
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return "answer";
    }
    bucket.refused++;
    if (bucket.refused % 2 === 0) {
      this.counts.dropped++;
      return "drop";
    }
    this.counts.toldToUseTcp++;
    return "use-tcp";
  }
}

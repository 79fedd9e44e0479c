// Whether a module's picks are all reported, but for those under way. Datagrams get lost and callers die; where that
// happens, picks must be given up sooner than where every report can be waited for.
//
// Picks and reports of about the last half minute are compared, less what calls under way explain.

const KEEP_MS = 30_000;
const EVERY_MS = 1000;
/** Fewer picks say nothing. */
const MIN_PICKS = 300;
/** Calls under way are taken for that many times what they usually are. */
const UNDER_WAY_FACTOR = 1.2;
/** So often in a row: hosts that become slow leave more unreported too, for a while. */
const SUSPICIONS = 2;
/** Share of picks that stay unreported above which it is no accident. */
const MIN_SHARE = 0.01;

export class ReportLosses {
  #picked = 0;
  #reported = 0;
  #pickedNow = 0;
  #suspicions = 0;
  /** As judged last. */
  isLossy = false;
  #countedAtMs = Number.NaN;

  picked(): void {
    this.#pickedNow++;
  }

  reported(): void {
    this.#reported++;
  }

  /** Whether it is time to judge anew: once a second. */
  isDue(nowMs: number): boolean {
    return !(nowMs - this.#countedAtMs < EVERY_MS);
  }

  /** `typicalMs`: how long a call takes. */
  judge(nowMs: number, typicalMs: number): void {
    const elapsedMs = nowMs - this.#countedAtMs;
    this.#countedAtMs = nowMs;
    if (elapsedMs > 0) {
      this.#picked += this.#pickedNow;
      const underWay = (UNDER_WAY_FACTOR * this.#pickedNow * typicalMs) / elapsedMs;
      const missing = this.#picked - this.#reported - underWay;
      const suspicious = this.#picked >= MIN_PICKS && missing > MIN_SHARE * this.#picked;
      this.#suspicions = suspicious ? this.#suspicions + 1 : 0;
      this.isLossy = this.#suspicions >= SUSPICIONS;
      const keep = Math.exp(-elapsedMs / KEEP_MS);
      this.#picked *= keep;
      this.#reported *= keep;
    }
    this.#pickedNow = 0;
  }
}

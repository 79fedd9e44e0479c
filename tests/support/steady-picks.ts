// A caller who picks over HTTP, one call after another, for as long as a test does something else.

export class SteadyPicks {
  picks = 0;
  failed = 0;
  #going = true;
  readonly #ended: Promise<void>;

  constructor(url: string) {
    this.#ended = this.#run(url);
  }

  async #run(url: string): Promise<void> {
    while (this.#going) {
      this.picks++;
      const response = await fetch(url).catch(() => undefined);
      if (response?.status !== 200) this.failed++;
      await response?.body?.cancel();
      await Bun.sleep(5);
    }
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#ended;
  }
}

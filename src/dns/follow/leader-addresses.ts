// Where a leader may be: the configured URLs, each name with all its IPv4 addresses, one after the other. A cut link
// often takes the name server along, so a name that cannot be looked up keeps the addresses it had.
//
// https is asked for by name: the certificate is for the name, and the runtime's connection tries the addresses itself.

/** One place to ask. `host`: what to send as Host when the URL has an address in the name's place. */
export interface LeaderAddress {
  /** As configured, for people. */
  readonly leader: string;
  /** Without a slash at its end. */
  readonly base: string;
  readonly host?: string;
}

/** All IPv4 addresses of a name. @throws when it cannot be looked up */
export type Lookup = (name: string) => Promise<readonly string[]>;

const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;

export class LeaderAddresses {
  readonly #urls: readonly string[];
  readonly #lookup: Lookup;
  readonly #known = new Map<string, readonly string[]>();

  constructor(urls: readonly string[], lookup: Lookup) {
    this.#urls = urls;
    this.#lookup = lookup;
  }

  /** In the order of the URLs, each address once. Never throws; never empty when there is a URL. */
  async list(): Promise<readonly LeaderAddress[]> {
    const lists = await Promise.all(this.#urls.map((url) => this.#addressesOf(url)));
    const seen = new Set<string>();
    return lists.flat().filter(({ base }) => !seen.has(base) && seen.add(base));
  }

  async #addressesOf(leader: string): Promise<readonly LeaderAddress[]> {
    const url = new URL(leader);
    const base = leader.replace(/\/+$/, "");
    const name = url.hostname;
    if (url.protocol === "https:" || IPV4.test(name) || name.startsWith("[") || name === "localhost")
      return [{ leader, base }];
    try {
      const found = await this.#lookup(name);
      if (found.length > 0) this.#known.set(name, found);
    } catch {
      // as it was
    }
    const addresses = this.#known.get(name);
    if (addresses === undefined) return [{ leader, base }];
    return addresses.map((address) => ({ leader, base: base.replace(`//${name}`, `//${address}`), host: url.host }));
  }
}

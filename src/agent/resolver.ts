// The agent as a name server, for callers that can do nothing but look a name up: `c<cmdid>.m<modid>.lars.` has the hosts
// of a module as A, SRV and TXT records. From bytes to bytes; sockets are resolver-server.ts's business.
//
// A query for addresses is a pick: the first record is the host that the balancer chose for this query, the rest are
// others it might choose, for callers that try the next when one does not answer. So nothing may be cached for long
// (ttl 0), or the balancer would choose once for many calls. A query that cannot have addresses (AAAA, which most callers
// send beside A) looks whether the module is there and picks nothing.
//
// When nothing may be said about a module (its route is not known yet, its shard is away, or every host is ejected and
// the policy sheds) the answer is SERVFAIL: the asker may try again or elsewhere, and nobody remembers "no such name".
import { formatEndpoint, formatIp, parseIp } from "../core/endpoint.ts";
import { parseModuleId } from "../core/module-key.ts";
import {
  CLASS_IN,
  DNS_PLAIN_UDP_BYTES,
  DNS_TYPES,
  DnsAnswer,
  type DnsQuery,
  dnsName,
  RCODES,
  type Rcode,
  readDnsQuery,
} from "../wire/dns-message.ts";
import type { ResolveAnswer, ResolvedHost } from "./shard-modules.ts";

export type ResolverTransport = "udp" | "tcp";

/** Looks a module up. `limit`: hosts wanted at most; 0: whether it is there, without a pick. May throw: unavailable. */
export type ResolverLookup = (modid: number, cmdid: number, limit: number) => Promise<ResolveAnswer>;

const ZONE = "lars";
/** Short enough to pass every network in one piece; what we say we take is also the most we send. */
const MAX_UDP_BYTES = 1232;
const MAX_TCP_BYTES = 65_535;
/** Records of hosts are at least 22 bytes long, so a UDP answer is full before these are used up. */
const MAX_UDP_HOSTS = 64;
const MAX_TCP_HOSTS = 1024;
/** Callers try one address or two; long lists of addresses only cost bytes. */
const MAX_ADDRESSES = 8;
const HOST_TTL = 0;
/** Of "there is none", and of addresses that are their own name. */
const FIXED_TTL = 1;
/** OPT is not a type to ask for; 249 and above are operations (transfers, ANY), not types. */
const FIRST_OPERATION = 249;

export interface ResolverCounts {
  udp: number;
  tcp: number;
  answered: number;
  noData: number;
  noSuchName: number;
  unavailable: number;
  refused: number;
  /** Answered with what is wrong: FORMERR, BADVERS, NOTIMP. */
  rejected: number;
  /** Not even a header, or not a question. */
  dropped: number;
  truncated: number;
}

type Question =
  | { readonly kind: "module"; readonly modid: number; readonly cmdid: number }
  | { readonly kind: "address"; readonly ip: number }
  | { readonly kind: "apex" | "between" | "nothing" };

export class Resolver {
  readonly counts: ResolverCounts = {
    udp: 0,
    tcp: 0,
    answered: 0,
    noData: 0,
    noSuchName: 0,
    unavailable: 0,
    refused: 0,
    rejected: 0,
    dropped: 0,
    truncated: 0,
  };

  constructor(private readonly lookup: ResolverLookup) {}

  /** The answer to a message; undefined: none is to be sent. Never rejects. The message must not change meanwhile. */
  async answer(message: Uint8Array, transport: ResolverTransport): Promise<Uint8Array | undefined> {
    this.counts[transport]++;
    const query = readDnsQuery(message);
    if ("rejected" in query) {
      this.counts[query.reply === undefined ? "dropped" : "rejected"]++;
      return query.reply;
    }
    const maxBytes = answerLimit(query, transport);
    if (query.edns !== undefined && query.edns.version !== 0) {
      this.counts.rejected++;
      return begin(query, maxBytes, RCODES.BADVERS, false).finish();
    }
    if (query.type === DNS_TYPES.OPT) {
      this.counts.rejected++;
      return begin(query, maxBytes, RCODES.FORMERR, false).finish();
    }
    if (query.labels.at(-1) !== ZONE || query.class !== CLASS_IN || query.type >= FIRST_OPERATION) {
      // Types far above are types again, for private use; nobody misses them here.
      this.counts.refused++;
      return begin(query, maxBytes, RCODES.REFUSED, false).finish();
    }
    const answer = await this.#answerInZone(query, maxBytes, transport);
    if (answer.truncated) this.counts.truncated++;
    return answer.finish();
  }

  /** The shortest answer that sends the asker to TCP, no longer than the query; undefined: not a query. */
  askAgainOverTcp(message: Uint8Array): Uint8Array | undefined {
    const query = readDnsQuery(message);
    if ("rejected" in query) return undefined;
    const answer = begin({ ...query, edns: undefined }, DNS_PLAIN_UDP_BYTES, RCODES.NOERROR, false);
    answer.truncate();
    return answer.finish();
  }

  async #answerInZone(query: DnsQuery, maxBytes: number, transport: ResolverTransport): Promise<DnsAnswer> {
    const asked = readQuestion(query.labels);
    switch (asked.kind) {
      case "module":
        return await this.#answerModule(query, maxBytes, asked.modid, asked.cmdid, transport);
      case "address": {
        if (query.type !== DNS_TYPES.A) return this.#nothing(query, maxBytes, RCODES.NOERROR);
        const answer = this.#something(query, maxBytes);
        answer.a(asked.ip, FIXED_TTL);
        return answer;
      }
      case "apex": {
        if (query.type !== DNS_TYPES.SOA) return this.#nothing(query, maxBytes, RCODES.NOERROR);
        const answer = this.#something(query, maxBytes);
        answer.soa("answer", 1, FIXED_TTL);
        return answer;
      }
      case "between":
        return this.#nothing(query, maxBytes, RCODES.NOERROR);
      case "nothing":
        return this.#nothing(query, maxBytes, RCODES.NXDOMAIN);
    }
  }

  async #answerModule(
    query: DnsQuery,
    maxBytes: number,
    modid: number,
    cmdid: number,
    transport: ResolverTransport,
  ): Promise<DnsAnswer> {
    const { A, SRV, TXT } = DNS_TYPES;
    const hasHosts = query.type === A || query.type === SRV || query.type === TXT;
    const limit = !hasHosts ? 0 : transport === "udp" ? MAX_UDP_HOSTS : MAX_TCP_HOSTS;
    const found = await this.lookup(modid, cmdid, limit).catch(() => ({ outcome: "unavailable" as const }));
    if (found.outcome === "unknown") return this.#nothing(query, maxBytes, RCODES.NXDOMAIN);
    if (found.outcome !== "hosts") {
      this.counts.unavailable++;
      return begin(query, maxBytes, RCODES.SERVFAIL, false);
    }
    if (!hasHosts) return this.#nothing(query, maxBytes, RCODES.NOERROR);
    const answer = this.#something(query, maxBytes);
    if (query.type === A) writeAddresses(answer, found.hosts);
    else if (query.type === SRV) writeServices(answer, found.hosts);
    else for (const host of found.hosts) if (!answer.txt(formatEndpoint(host), HOST_TTL)) break;
    return answer;
  }

  #something(query: DnsQuery, maxBytes: number): DnsAnswer {
    this.counts.answered++;
    return begin(query, maxBytes, RCODES.NOERROR, true);
  }

  #nothing(query: DnsQuery, maxBytes: number, rcode: Rcode): DnsAnswer {
    this.counts[rcode === RCODES.NXDOMAIN ? "noSuchName" : "noData"]++;
    const answer = begin(query, maxBytes, rcode, true);
    answer.soa("authority", 1, FIXED_TTL);
    return answer;
  }
}

function answerLimit(query: DnsQuery, transport: ResolverTransport): number {
  if (transport === "tcp") return MAX_TCP_BYTES;
  return Math.min(MAX_UDP_BYTES, Math.max(DNS_PLAIN_UDP_BYTES, query.edns?.udpBytes ?? 0));
}

function begin(query: DnsQuery, maxBytes: number, rcode: Rcode, authoritative: boolean): DnsAnswer {
  return new DnsAnswer(query, { rcode, authoritative, maxBytes, udpBytes: MAX_UDP_BYTES });
}

/** `labels` end with the zone's. "between": nothing is there, but something is below. */
function readQuestion(labels: readonly string[]): Question {
  const depth = labels.length - 1;
  if (depth === 0) return { kind: "apex" };
  const above = labels[depth - 1]!;
  if (above === "ip") {
    if (depth === 1) return { kind: "between" };
    const ip = depth === 2 ? parseIp(labels[0]!.replaceAll("-", ".")) : undefined;
    return ip === undefined || labels[0]!.includes(".") ? { kind: "nothing" } : { kind: "address", ip };
  }
  const modid = above.startsWith("m") ? parseModuleId(above.slice(1)) : undefined;
  if (modid === undefined) return { kind: "nothing" };
  // Askers that go down label by label take "no such name" here to hold for everything below.
  if (depth === 1) return { kind: "between" };
  const cmdid = depth === 2 && labels[0]!.startsWith("c") ? parseModuleId(labels[0]!.slice(1)) : undefined;
  return cmdid === undefined ? { kind: "nothing" } : { kind: "module", modid, cmdid };
}

/** Hosts on one machine have one address: it is said once. */
function writeAddresses(answer: DnsAnswer, hosts: readonly ResolvedHost[]): void {
  const addresses = new Set<number>();
  for (const { ip } of hosts) {
    if (addresses.has(ip)) continue;
    addresses.add(ip);
    if (addresses.size > MAX_ADDRESSES || !answer.a(ip, HOST_TTL)) return;
  }
}

/** Askers of SRV records draw by weight among those of the least priority: the pick stands there alone. */
function writeServices(answer: DnsAnswer, hosts: readonly ResolvedHost[]): void {
  const targets = new Map<number, { at: number; name: Uint8Array }>();
  for (const [i, { ip, port, weight }] of hosts.entries()) {
    const target = dnsName([formatIp(ip).replaceAll(".", "-"), "ip", ZONE]);
    const at = answer.srv({ priority: i === 0 ? 0 : 1, weight, port, target }, HOST_TTL);
    if (at === undefined) return;
    if (!targets.has(ip)) targets.set(ip, { at, name: target });
  }
  for (const [ip, { at, name }] of targets) answer.additionalA(at, name, ip, FIXED_TTL);
}

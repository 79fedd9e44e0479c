// What counts as one caller when guesses are counted: an IPv4 address, or the /64 of an IPv6 address, because that is
// what one customer gets and may number as it likes. The address is the connection's own; headers that claim another
// (X-Forwarded-For) are written by the caller and never believed.

const MAPPED_IPV4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
/** Of a text that is no address: nothing that a runtime hands in is trusted to be short. */
const MAX_LENGTH = 64;

/** A key to count by; "unknown" for all whose address the runtime does not tell. */
export function callerKey(address: string | undefined): string {
  if (address === undefined || address === "") return "unknown";
  const mapped = MAPPED_IPV4.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address.slice(0, MAX_LENGTH);
  const groups = ipv6Groups(address.split("%")[0]!);
  if (groups === undefined) return address.slice(0, MAX_LENGTH);
  const [, , , , fifth, sixth, high, low] = groups as [number, number, number, number, number, number, number, number];
  if (groups.slice(0, 4).every((group) => group === 0) && fifth === 0 && sixth === 0xffff) {
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}

/** The eight groups; undefined when it is no IPv6 address written in groups alone. */
function ipv6Groups(text: string): readonly number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const given = [...head!, ...(tail ?? [])];
  const missing = 8 - given.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  if (!given.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const all = tail === undefined ? given : [...head!, ...Array<string>(missing).fill("0"), ...tail];
  return all.map((group) => Number.parseInt(group, 16));
}

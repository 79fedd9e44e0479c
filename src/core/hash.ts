// A hash for spreading keys (consistent hashing of callers' hash keys): MurmurHash3_x86_32 by Austin Appleby, public
// domain. It is not FNV because keys that differ only in their last digit must land far apart, and not keyed because a
// caller who wants all its calls on one host needs no collision for that.

/** The 32-bit MurmurHash3 of `length` bytes at `offset`, unsigned. */
export function hashBytes(buf: Uint8Array, offset: number, length: number, seed = 0): number {
  let h = seed | 0;
  const blocksEnd = offset + (length & ~3);
  for (let i = offset; i < blocksEnd; i += 4) {
    h ^= mixKey(buf[i]! | (buf[i + 1]! << 8) | (buf[i + 2]! << 16) | (buf[i + 3]! << 24));
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe654_6b64) | 0;
  }
  const rest = length & 3;
  if (rest > 0) {
    let k = buf[blocksEnd]!;
    if (rest > 1) k |= buf[blocksEnd + 1]! << 8;
    if (rest > 2) k |= buf[blocksEnd + 2]! << 16;
    h ^= mixKey(k);
  }
  return finalMix(h ^ length);
}

function mixKey(key: number): number {
  const k = Math.imul(key, 0xcc9e_2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b87_3593);
}

/** MurmurHash3's finalizer: a bijection of 32-bit integers in which every input bit moves every output bit. Unsigned. */
export function finalMix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const utf8 = new TextEncoder();

/** {@link hashBytes} of the text's UTF-8 bytes: the same key hashes alike whatever way its caller comes. */
export function hashText(text: string): number {
  const bytes = utf8.encode(text);
  return hashBytes(bytes, 0, bytes.length);
}

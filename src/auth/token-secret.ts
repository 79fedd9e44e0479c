// What a token is: 256 random bits, of which only the SHA-256 is stored. They are too many to guess, so one unsalted hash
// is enough, and hashes can be looked up by a prefix and compared in constant time without telling anything of the
// token. Portable: Web Crypto only.

/** Lower-case hex. */
export async function sha256Hex(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return hex(new Uint8Array(digest));
}

/** Hex strings of one length, in time that does not depend on where they differ. */
export function equalHex(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

export function randomToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return `lars_${btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "")}`;
}

/** Names a token in calls and logs; tells nothing about it. */
export function randomTokenId(): string {
  return `t_${hex(crypto.getRandomValues(new Uint8Array(6)))}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

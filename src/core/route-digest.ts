// Whether two replicas of the routes are the same, told by one number. A follower asks for what changed after its
// revision; that is all it needs while the leader's history is the one it saw before. A database restored from a backup
// has another history under the same numbers, and nothing in "what changed since" would show it: the follower would keep
// what the restored database never had, for ever. So every record has a mark made of its key and its revision, and the
// sum of all marks must come out the same on both sides. A sum, because a record that is replaced is then two additions.
//
// The marks are 32 bits: two histories that differ are taken for one with a chance of one in four thousand million.
import { finalMix } from "./hash.ts";
import type { NameScope } from "./route-change.ts";

const SCOPE_SEEDS: Readonly<Record<NameScope, number>> = { modid: 0x6d6f_6469, cmdid: 0x636d_6469 };

function mark(seed: number, a: number, b: number, revision: number): number {
  if (revision === 0) return 0;
  let h = finalMix(seed ^ a);
  h = finalMix((h + b) | 0);
  h = finalMix((h + (revision | 0)) | 0);
  return finalMix((h + Math.floor(revision / 0x1_0000_0000)) | 0);
}

/** The mark of a route's record. Revision 0 (there is none) is 0. */
export function routeMark(modid: number, cmdid: number, revision: number): number {
  return mark(0x726f_7574, modid, cmdid, revision);
}

export function nameMark(scope: NameScope, id: number, revision: number): number {
  return mark(SCOPE_SEEDS[scope], id, 0, revision);
}

/** `digest` with one mark in another's place, unsigned 32 bits. */
export function replaceMark(digest: number, before: number, after: number): number {
  return (digest - before + after) >>> 0;
}

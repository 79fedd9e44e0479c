// When so many hosts vanish at once that it is likelier a mistake than somebody's wish: a table emptied by hand, a
// backup of the wrong day. The change itself stands, for it is what the database says; but the routes that shrank are
// marked with how many hosts they had, and agents keep what they have until somebody says that it was meant.
//
// What counts is by how much a route is shorter than it was. A route whose hosts were all replaced by others did not
// shrink: to hold on to the old ones would be the outage.
import type { Host } from "./assignment.ts";

/** Fewer are never too many at once: in a small table one module is easily half of all. */
export const MIN_VANISHED = 10;

interface Shrinkable {
  readonly before: { readonly hosts: readonly Host[] } | undefined;
  readonly hosts: readonly Host[];
  readonly vanishedFrom?: number;
}

function shrinkage({ before, hosts }: Shrinkable): number {
  return Math.max(0, (before?.hosts.length ?? 0) - hosts.length);
}

/**
 * The edits of one change, those that shrank their route marked when together they take away more than `maxShare` (0 to
 * 1) of `held` hosts, all there were. `held` is asked for only when it matters: to count is to look at every route.
 */
export function markVanished<E extends Shrinkable>(
  edits: readonly E[],
  held: () => number,
  maxShare: number,
): readonly E[] {
  const vanished = edits.reduce((sum, edit) => sum + shrinkage(edit), 0);
  if (vanished < MIN_VANISHED || vanished <= maxShare * held()) return edits;
  return edits.map((edit) =>
    shrinkage(edit) === 0
      ? edit
      : { ...edit, vanishedFrom: Math.max(edit.vanishedFrom ?? 0, edit.before?.hosts.length ?? 0) },
  );
}

import { expect, test } from "bun:test";
import { nextRouteVersion } from "../../src/store/sql/write-line.ts";

for (const [now, revision, next, what] of [
  [0n, 5, 5n, "behind our revision, it becomes that"],
  [5n, 5, 6n, "at our revision, it moves on by one, so that readers notice"],
  [9n, 5, 10n, "ahead of our revision, it is counted on from"],
  [4294967294n, 5, 4294967295n, "up to the end of its 32 bits"],
  [4294967295n, 5, 5n, "and from there back to our revision"],
  [2n ** 64n - 1n, 5, 5n, "as from beyond"],
] as const) {
  test(`RouteVersion ${now} when we commit revision ${revision} becomes ${next}: ${what}`, () => {
    expect(nextRouteVersion(now, revision)).toBe(next);
  });
}

import { expect, test } from "bun:test";
import { newRequestId } from "../../src/platform/request-id.ts";

test("10,000 ids are all different, have a UUID's form, and pass as a caller's own", () => {
  const ids = Array.from({ length: 10_000 }, newRequestId);
  expect(new Set(ids).size).toBe(10_000);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

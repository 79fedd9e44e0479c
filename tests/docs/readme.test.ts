// The README against what there is: a table that fell behind and a path that moved are failures here. Its lines are run by
// readme.external.ts.
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { PROJECT_ROOT } from "../support/lars-processes.ts";
import { withTables } from "./config-table.ts";
import { blocks, readme } from "./readme-blocks.ts";

const read = (file: string): Promise<string> => Bun.file(join(PROJECT_ROOT, file)).text();

test("the README has the two commands of the project, with the Bun version of package.json", () => {
  const install = `npx -y bun@${packageJson.devDependencies.bun} install --frozen-lockfile`;
  expect(blocks("sh")[0]).toBe(`${install} && npx bun run up\n`);
  expect(blocks("sh").at(-1)).toBe(`${install} && npx bun run test:all\n`);
});

test("every `bun run` script that a document names exists", async () => {
  const texts = await Promise.all(
    [
      "README.md",
      "CONTRIBUTING.md",
      "docs/ACCESS.md",
      "docs/ARCHITECTURE.md",
      "docs/MIGRATION.md",
      "docs/STEERING.md",
      "docs/TLS.md",
    ].map(read),
  );
  const named = new Set(
    texts.flatMap((text) => [...text.matchAll(/`(?:npx )?bun run ([\w:]+)/g)].map((match) => match[1]!)),
  );
  expect(named.size).toBeGreaterThan(4);
  expect([...named].filter((name) => !Object.hasOwn(packageJson.scripts, name))).toEqual([]);
});

test("the README's configuration tables are those of the schemas (`bun tests/docs/config-table.ts` writes them)", () => {
  expect(readme).toBe(withTables(readme));
});

test("every file and folder that a document names or links to exists", async () => {
  const documents = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/ACCESS.md",
    "docs/ARCHITECTURE.md",
    "docs/MIGRATION.md",
    "docs/STEERING.md",
    "docs/TLS.md",
  ];
  const missing: string[] = [];
  for (const document of documents) {
    const text = await read(document);
    const named = [...text.matchAll(/`((?:src|tests|conf|drizzle|proto|examples|docs|\.ci)\/[\w./-]*)`/g)].map(
      (m) => m[1]!,
    );
    const linked = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map((m) => join(document, "..", m[1]!));
    for (const path of [...named, ...linked])
      if (!existsSync(join(PROJECT_ROOT, path))) missing.push(`${document}: ${path}`);
  }
  expect(missing).toEqual([]);
});

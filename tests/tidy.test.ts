// The rules of the house, checked: which folder may import which, what the pure and the portable parts must not use, what
// names and sizes files have. Rules that only stand in a document are forgotten.
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");

function filesUnder(folder: string, pattern: RegExp): readonly string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => pattern.test(file))
    .map((file) => join(folder, file))
    .sort();
}

const SOURCES = filesUnder("src", /\.ts$/).filter((file) => !file.startsWith("src/wire/gen/"));

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** Without comments and string contents, so that words in them do not count as code. */
function codeOf(file: string): string {
  return textOf(file)
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|[^:])\/\/.*$/gm, "$1")
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""');
}

/** What a file imports, types, re-exports and dynamic imports included: paths from the root, or package names. */
function importsOf(file: string): readonly string[] {
  const text = textOf(file);
  const named = [...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"/g)];
  const bare = [...text.matchAll(/(?:^|\n)import\s+"([^"]+)"/g)];
  const dynamic = [...text.matchAll(/import\(\s*"([^"]+)"\s*\)/g)];
  const workers = [...text.matchAll(/new URL\("(\.[^"]+\.ts)",\s*import\.meta\.url\)/g)];
  return [...named, ...bare, ...dynamic, ...workers].map(([, target]) =>
    target!.startsWith(".") ? relative(ROOT, resolve(ROOT, dirname(file), target!)) : target!,
  );
}

const roomOf = (file: string): string => file.split("/")[1]!;

/** What each folder of src may import from. A folder that is not listed here fails the test: say where it belongs. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  wire: ["core"],
  net: ["core", "wire"],
  platform: ["core"],
  store: ["core", "platform"],
  auth: ["core", "platform", "store"],
  dns: ["core", "wire", "net", "platform", "store", "auth"],
  report: ["core", "wire", "net", "platform", "store", "auth"],
  agent: ["core", "wire", "net", "platform"],
  client: ["core", "wire", "net"],
  console: ["core"],
  cli: ["core", "platform", "store"],
  up: ["core", "platform", "store", "auth", "dns", "report", "agent"],
};

const isMain = (file: string): boolean => /(^|\/|-)main\.ts$/.test(file);

describe("directions", () => {
  test.each(SOURCES.map((file) => [file] as const))("%s imports only what its folder may", (file) => {
    const allowed = MAY_IMPORT[roomOf(file)];
    expect(allowed).toBeDefined();
    const wrong = importsOf(file)
      .filter((target) => target.startsWith("src/"))
      .filter((target) => roomOf(target) !== roomOf(file) && !allowed!.includes(roomOf(target)));
    expect(wrong).toEqual([]);
  });

  test("nothing imports a main.ts: only they compose", () => {
    const wrong = SOURCES.flatMap((file) =>
      importsOf(file)
        .filter(isMain)
        .map((target) => `${file} -> ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test("files do not import each other in a circle", () => {
    const graph = new Map(SOURCES.map((file) => [file, importsOf(file).filter((target) => target.startsWith("src/"))]));
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) throw new Error(`circle: ${[...path.slice(path.indexOf(file)), file].join(" -> ")}`);
      if (done.has(file)) return;
      for (const target of graph.get(file) ?? []) visit(target, [...path, file]);
      done.add(file);
    };
    for (const file of SOURCES) visit(file, []);
  });

  test("an import that is cut out of a source is found by this test's own reading of imports", () => {
    // Guards the guard: the worker URL, the dynamic import and the type import are where others miss them.
    expect(importsOf("src/agent/shard-pool.ts")).toContain("src/agent/shard-worker.ts");
    expect(importsOf("src/store/open.ts")).toContain("src/store/sqlite/open.ts");
    expect(importsOf("src/agent/shard-protocol.ts")).toContain("src/core/make-balancer.ts");
  });
});

describe("purity", () => {
  const pure = SOURCES.filter((file) => ["core", "wire"].includes(roomOf(file)));
  const IMPURE =
    /\b(Date\.now|new Date|performance\.|Math\.random|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|Bun\.|console\.|fetch\(|await |async |globalThis)/;

  test.each(pure.map((file) => [file] as const))("%s has no I/O, clock, chance, environment or waiting", (file) => {
    expect(IMPURE.exec(codeOf(file))?.[0]).toBeUndefined();
    expect(importsOf(file).filter((target) => /^(node|bun):|^bun$/.test(target))).toEqual([]);
  });

  test("only src/net opens sockets", () => {
    const wrong = SOURCES.filter(
      (file) => roomOf(file) !== "net" && /Bun\.(udpSocket|listen|connect)\b/.test(codeOf(file)),
    );
    expect(wrong).toEqual([]);
  });

  test("the dns and report applications reach nothing of Bun's or Node's own, whatever they import", () => {
    for (const app of ["src/dns/app.ts", "src/report/app.ts"]) {
      const reached = new Set<string>();
      const visit = (file: string): void => {
        if (reached.has(file)) return;
        reached.add(file);
        for (const target of importsOf(file)) if (target.startsWith("src/") && target.endsWith(".ts")) visit(target);
      };
      visit(app);
      expect(reached.size).toBeGreaterThan(10);
      for (const file of reached) {
        expect(`${file}: ${/\b(Bun\.|process\.)/.exec(codeOf(file))?.[0]}`).toBe(`${file}: undefined`);
        expect(importsOf(file).filter((target) => /^(node|bun):|^bun$/.test(target))).toEqual([]);
      }
    }
  });
});

describe("files", () => {
  test.each(SOURCES.map((file) => [file] as const))("%s says why it is there, and is of a readable size", (file) => {
    const text = textOf(file);
    expect(text.startsWith("//")).toBe(true);
    expect(text.split("\n").length).toBeLessThanOrEqual(500);
  });

  test("names say what a thing is, not that it is useful", () => {
    const vague = SOURCES.filter((file) =>
      /(^|[/-])(utils?|common|helpers?|managers?|base|misc)\.ts$|\/index\.ts$|(^|\/)(utils?|common|helpers?|managers?|base|misc)-/.test(
        file,
      ),
    );
    expect(vague).toEqual([]);
    const notKebab = SOURCES.filter((file) => !/^[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(file.split("/").at(-1)!));
    expect(notKebab).toEqual([]);
  });

  test("no source writes to the console or leaves a note to finish later", () => {
    const leftovers = SOURCES.filter(
      (file) => /\bconsole\./.test(codeOf(file)) || /\b(TODO|FIXME|XXX|HACK)\b/.test(textOf(file)),
    );
    expect(leftovers).toEqual([]);
  });

  test("no test waits for a fixed time", () => {
    // Polling with a deadline lives in tests/support; a test that sleeps is slow when it passes and wrong when it fails.
    const tests = filesUnder("tests", /\.(test|external|contract)\.ts$/);
    const sleepers = tests.filter(
      (file) => file !== "tests/tidy.test.ts" && /Bun\.sleep\((?!0\))|setTimeout\(r(esolve)?,/.test(codeOf(file)),
    );
    expect(sleepers).toEqual([]);
  });

  test("the lock file and the tree name no package host", () => {
    expect(/https?:\/\//.test(textOf("bun.lock"))).toBe(false);
  });
});

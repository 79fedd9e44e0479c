// src/wire/gen is generated and committed. This generates it again elsewhere and compares, so that a change of
// proto/lars.proto without `bun run generate:proto` does not go unnoticed.
import { expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

async function contents(folder: string): Promise<Record<string, string>> {
  const files = (await readdir(folder)).sort();
  return Object.fromEntries(
    await Promise.all(files.map(async (name) => [name, await Bun.file(join(folder, name)).text()])),
  );
}

function withOutput(template: unknown, out: string): object {
  const { plugins, ...rest } = template as { plugins: object[] };
  return { ...rest, plugins: plugins.map((plugin) => ({ ...plugin, out })) };
}

test("src/wire/gen is what the generator makes of proto/lars.proto", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lars-gen-"));
  try {
    // The committed template with another output folder.
    const template = JSON.stringify(
      withOutput(Bun.YAML.parse(await Bun.file(join(ROOT, "buf.gen.yaml")).text()), folder),
    );
    const buf = Bun.spawn([process.execPath, "x", "--bun", "buf", "generate", "--template", template], {
      cwd: ROOT,
      stdout: "pipe",
      stderr: "pipe",
    });
    const said = (await new Response(buf.stdout).text()) + (await new Response(buf.stderr).text());
    expect([await buf.exited, said]).toEqual([0, ""]);
    expect(await contents(folder)).toEqual(await contents(join(ROOT, "src/wire/gen")));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 30_000);

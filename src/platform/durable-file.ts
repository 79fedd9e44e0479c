// Replacing a file so that a crash leaves the old content or the new, never half of one: written beside its place, synced,
// renamed. The rename itself is durable once its folder is.
import { mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";

/** @throws when the folder cannot be made or the file cannot be written (disk full); what was there is then still there */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.${process.pid}.tmp`;
  const file = await open(beside, "w", 0o644);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

// The README as its tests read it.
import { join } from "node:path";
import { PROJECT_ROOT } from "../support/lars-processes.ts";

export const readme = await Bun.file(join(PROJECT_ROOT, "README.md")).text();

/** What its code blocks of a language hold, in the order of the page. */
export function blocks(language: string): string[] {
  return [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter((match) => match[1] === language)
    .map((m) => m[2]!);
}

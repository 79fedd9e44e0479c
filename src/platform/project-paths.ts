// Where files are. Relative paths in a configuration count from the project's folder, not from wherever a shell happened
// to be: three processes started from three places must find the same database.
import { dirname, isAbsolute, resolve } from "node:path";
import { DEFAULT_DATABASE_URL } from "./config-sections.ts";

const sourceDir = import.meta.dir;

/** The folder of package.json; for a compiled program, whose sources have no place on disk, the folder it lies in. */
export const projectRoot: string =
  sourceDir.startsWith("/$bunfs") || /^[A-Z]:[\\/]~BUN/i.test(sourceDir)
    ? dirname(process.execPath)
    : resolve(sourceDir, "../..");

/** An absolute path; relative ones count from the project's folder. */
export function projectPath(path: string): string {
  return isAbsolute(path) ? path : resolve(projectRoot, path);
}

/**
 * database.url with an absolute file. While it is left at its default the file is lars.db in data.dir, so that moving
 * data.dir (LARS_DATA_DIR) moves everything.
 */
export function databaseUrl(config: {
  readonly database: { readonly url: string };
  readonly data: { readonly dir: string };
}): string {
  const { url } = config.database;
  if (url === DEFAULT_DATABASE_URL) return `sqlite:${resolve(projectPath(config.data.dir), "lars.db")}`;
  if (!url.startsWith("sqlite:")) return url;
  const file = url.slice("sqlite:".length);
  return file === ":memory:" ? url : `sqlite:${projectPath(file)}`;
}

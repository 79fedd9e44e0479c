import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentConfig } from "../../src/agent/config.ts";
import { readStartup } from "../../src/platform/config-file.ts";
import { type ConfigChange, type ConfigWatch, watchConfig } from "../../src/platform/config-watch.ts";
import { eventually } from "../support/eventually.ts";
import { RecordingLog } from "../support/recording-log.ts";

type Sections = typeof agentConfig.sections;

let folder: string;
let file: string;
let log: RecordingLog;
let signals: EventEmitter;
let changes: ConfigChange<Sections>[];
let watch: ConfigWatch<Sections>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lars-watch-"));
  file = join(folder, "agent.toml");
  writeFileSync(file, "[routes]\nresolve_timeout_ms = 50\n");
  const startup = readStartup(agentConfig, ["--config", file], { LARS_AGENT__REPORTER__FLUSH_INTERVAL_MS: "500" });
  if (startup.kind !== "run") throw new Error("not run");
  log = new RecordingLog();
  signals = new EventEmitter();
  changes = [];
  watch = watchConfig(startup.loaded, { log, signals, debounceMs: 5, onChange: (change) => changes.push(change) });
});
afterEach(() => {
  watch.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe("a reload", () => {
  test("takes reloadable keys, keeps the others as they run, and names both", () => {
    writeFileSync(file, '[routes]\nresolve_timeout_ms = 70\n[log]\nlevel = "debug"\n[udp]\nport = 9999\n');
    expect(watch.reload()).toBe(true);
    expect(changes).toHaveLength(1);
    expect(changes[0]?.reloaded).toEqual(["routes.resolve_timeout_ms", "log.level"]);
    expect(changes[0]?.restartNeeded).toEqual(["udp.port"]);
    expect(watch.current().routes.resolve_timeout_ms).toBe(70);
    expect(watch.current().udp.port).toBe(8888);
    expect(log.texts).toEqual([
      "info configuration reloaded: routes.resolve_timeout_ms",
      "info configuration reloaded: log.level",
      "warn configuration changed, but needs a restart: udp.port",
    ]);
  });

  test("that is wrong keeps the old and logs the one line", () => {
    writeFileSync(file, "[routes]\nresolve_timeout_ms = 0\n");
    expect(watch.reload()).toBe(false);
    expect(changes).toEqual([]);
    expect(watch.current().routes.resolve_timeout_ms).toBe(50);
    expect(log.texts).toEqual([
      `error configuration not reloaded, the old one stays: ${file}: routes.resolve_timeout_ms is 0; allowed: an integer from 1 to 60000`,
    ]);
  });

  test("of a file that is gone keeps the old", () => {
    rmSync(file);
    expect(watch.reload()).toBe(false);
    expect(watch.current().routes.resolve_timeout_ms).toBe(50);
  });

  test("leaves the environment on top", () => {
    writeFileSync(file, "[reporter]\nflush_interval_ms = 2000\n[routes]\nresolve_timeout_ms = 50\n");
    watch.reload();
    expect(watch.current().reporter.flush_interval_ms).toBe(500);
    expect(changes).toEqual([]);
    expect(log.texts).toEqual(["info configuration read again: nothing changed"]);
  });

  test("a key that needs a restart is named at every reload until then", () => {
    writeFileSync(file, "[routes]\nresolve_timeout_ms = 50\n[udp]\nport = 9999\n");
    watch.reload();
    watch.reload();
    expect(log.texts.filter((text) => text.endsWith("udp.port"))).toHaveLength(2);
  });
});

describe("a reload is caused by", () => {
  test("SIGHUP", () => {
    writeFileSync(file, "[routes]\nresolve_timeout_ms = 71\n");
    signals.emit("SIGHUP", "SIGHUP");
    expect(watch.current().routes.resolve_timeout_ms).toBe(71);
  });

  test("writing the file", async () => {
    writeFileSync(file, "[routes]\nresolve_timeout_ms = 72\n");
    await eventually(() => watch.current().routes.resolve_timeout_ms === 72);
  });

  test("replacing the file by rename, again and again", async () => {
    for (const value of [73, 74, 75]) {
      writeFileSync(join(folder, "new"), `[routes]\nresolve_timeout_ms = ${value}\n`);
      renameSync(join(folder, "new"), file);
      await eventually(() => watch.current().routes.resolve_timeout_ms === value);
    }
  });

  test("nothing any more once the watch is stopped", () => {
    watch.stop();
    writeFileSync(file, "[routes]\nresolve_timeout_ms = 76\n");
    signals.emit("SIGHUP", "SIGHUP");
    expect(watch.current().routes.resolve_timeout_ms).toBe(50);
  });
});

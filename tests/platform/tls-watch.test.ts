// Renewals as tools make them, in virtual time: the files are real, the seconds are not.
import { beforeEach, describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createMetrics } from "../../src/platform/metrics.ts";
import { exposeTls, TlsWatch } from "../../src/platform/tls-watch.ts";
import { temporaryFolder } from "../support/lars-processes.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { type Issued, TlsAuthority, writeIssued } from "../support/tls-authority.ts";

const authority = new TlsAuthority();
const DAY_MS = 86_400_000;

interface Rig {
  readonly folder: string;
  readonly clock: ManualClock;
  readonly log: RecordingLog;
  readonly signals: EventEmitter;
  readonly subjects: (string | undefined)[];
  readonly watch: TlsWatch;
}

let folder: string;
beforeEach(() => {
  folder = temporaryFolder("tls-watch");
});

/** Watches server.crt and server.key in `at`. */
function watchFiles(at = folder, refuse?: string): Rig {
  const clock = new ManualClock({ wallMs: Date.now() });
  const log = new RecordingLog();
  const signals = new EventEmitter();
  const subjects: (string | undefined)[] = [];
  const watch = new TlsWatch({
    paths: { role: "server", certFile: join(at, "server.crt"), keyFile: join(at, "server.key"), caFile: "" },
    log,
    nowMs: () => clock.wallMs(),
    signals,
    setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
  });
  watch.start(({ subject }) => {
    if (refuse !== undefined) return refuse;
    subjects.push(subject);
    return undefined;
  });
  return { folder: at, clock, log, signals, subjects, watch };
}

function issue(name: string): Issued {
  return authority.issue({ name });
}

describe("a renewal is taken within two looks, once", () => {
  test("files written in place", () => {
    writeIssued(folder, "server", issue("first"));
    const { clock, subjects, watch, log } = watchFiles();
    clock.advance(10_000);
    expect(subjects).toEqual([]);
    writeIssued(folder, "server", issue("second"));
    clock.advance(1000);
    expect(subjects).toEqual([]);
    clock.advance(1000);
    expect([subjects, watch.material.subject]).toEqual([["CN=second"], "CN=second"]);
    clock.advance(60_000);
    expect([subjects.length, watch.counts]).toEqual([1, { renewed: 1, failed: 0 }]);
    expect(log.texts).toEqual(["info TLS files were renewed: new connections use them"]);
  });

  test("files replaced by rename", () => {
    writeIssued(folder, "server", issue("first"));
    const { clock, subjects } = watchFiles();
    const fresh = writeIssued(folder, "fresh", issue("second"));
    renameSync(fresh.cert, join(folder, "server.crt"));
    renameSync(fresh.key, join(folder, "server.key"));
    clock.advance(2000);
    expect(subjects).toEqual(["CN=second"]);
  });

  test("a symbolic link to each file turned, as ACME tools do", () => {
    const turn = (name: string, to: string): void => {
      const link = join(folder, name);
      symlinkSync(to, `${link}.new`);
      renameSync(`${link}.new`, link);
    };
    const first = writeIssued(folder, "one", issue("first"));
    turn("server.crt", first.cert);
    turn("server.key", first.key);
    const { clock, subjects } = watchFiles();
    const second = writeIssued(folder, "two", issue("second"));
    turn("server.crt", second.cert);
    turn("server.key", second.key);
    clock.advance(2000);
    expect(subjects).toEqual(["CN=second"]);
  });

  test("the folder behind the files turned at once, as mounted secrets are", () => {
    for (const name of ["first", "second"]) {
      mkdirSync(join(folder, name));
      writeIssued(join(folder, name), "server", issue(name));
    }
    symlinkSync("first", join(folder, "..data"));
    for (const file of ["server.crt", "server.key"]) symlinkSync(join("..data", file), join(folder, file));
    const { clock, subjects } = watchFiles();
    symlinkSync("second", join(folder, "next"));
    renameSync(join(folder, "next"), join(folder, "..data"));
    clock.advance(2000);
    expect(subjects).toEqual(["CN=second"]);
  });

  test("on SIGHUP at once; a SIGHUP without a change does nothing", () => {
    writeIssued(folder, "server", issue("first"));
    const { signals, subjects, watch } = watchFiles();
    signals.emit("SIGHUP");
    expect(subjects).toEqual([]);
    writeIssued(folder, "server", issue("second"));
    signals.emit("SIGHUP");
    expect(subjects).toEqual(["CN=second"]);
    watch.stop();
    writeIssued(folder, "server", issue("third"));
    signals.emit("SIGHUP");
    expect([subjects.length, signals.listenerCount("SIGHUP")]).toEqual([1, 0]);
  });

  test("a certificate whose key comes a look later is no error", () => {
    writeIssued(folder, "server", issue("first"));
    const { clock, subjects, watch } = watchFiles();
    const second = issue("second");
    writeFileSync(join(folder, "server.crt"), second.cert);
    clock.advance(1000);
    writeFileSync(join(folder, "server.key"), second.key);
    clock.advance(2000);
    expect([subjects, watch.counts]).toEqual([["CN=second"], { renewed: 1, failed: 0 }]);
  });
});

describe("a renewal that is wrong keeps the old and says so, once", () => {
  test.each<[string, (folder: string) => void, string]>([
    ["a file is gone", (at) => rmSync(join(at, "server.key")), "cannot be read (ENOENT)"],
    ["a text that is no certificate", (at) => writeFileSync(join(at, "server.crt"), "?"), "holds no certificate"],
    [
      "the key of another",
      (at) => writeFileSync(join(at, "server.key"), issue("x").key),
      "is not the key of the first",
    ],
    [
      "a certificate that has expired already",
      (at) => void writeIssued(at, "server", authority.issue({ untilMs: Date.now() - 1000 })),
      "expired",
    ],
  ])("%s; the next good one is taken", (_, spoil, reason) => {
    writeIssued(folder, "server", issue("first"));
    const { clock, subjects, watch, log } = watchFiles();
    spoil(folder);
    clock.advance(60_000);
    expect([subjects, watch.material.subject, watch.counts]).toEqual([[], "CN=first", { renewed: 0, failed: 1 }]);
    expect(log.texts).toHaveLength(1);
    expect(log.texts[0]).toStartWith("error TLS files not renewed, the old ones stay in use: ");
    expect(log.texts[0]).toContain(reason);
    writeIssued(folder, "server", issue("second"));
    clock.advance(2000);
    expect(subjects).toEqual(["CN=second"]);
  });

  test("that a listener could not be made with it", () => {
    writeIssued(folder, "server", issue("first"));
    const { clock, watch, log } = watchFiles(folder, "no listener");
    writeIssued(folder, "server", issue("second"));
    clock.advance(5000);
    expect([watch.material.subject, watch.counts]).toEqual(["CN=first", { renewed: 0, failed: 1 }]);
    expect(log.texts[0]).toEndWith("no listener");
  });
});

describe("a certificate that runs out", () => {
  test("is told 14 days before and then once a day, as an error from the day on which it is over", () => {
    writeIssued(folder, "server", authority.issue({ untilMs: Date.now() + 15.5 * DAY_MS }));
    const { clock, log } = watchFiles();
    clock.advance(1000);
    expect(log.texts).toEqual([]);
    for (let day = 0; day < 17; day++) {
      clock.setWallMs(clock.wallMs() + DAY_MS);
      clock.advance(1000);
      clock.advance(1000);
    }
    expect(log.lines.map(({ level }) => level)).toEqual([...Array(14).fill("warn"), "error", "error"]);
    expect(log.texts[0]).toMatch(/^warn the TLS certificate expires 20\d\d-\d\d-\d\dT.*; renew it$/);
  });

  test("is a metric in seconds, negative when it is over; without a certificate there is none", async () => {
    writeIssued(folder, "server", authority.issue({ untilMs: Date.now() + DAY_MS }));
    const { clock, watch } = watchFiles();
    const none = { role: "client", certFile: "", keyFile: "", caFile: "" } as const;
    const metrics = createMetrics("dns");
    exposeTls(metrics, [watch, new TlsWatch({ paths: none, log: new RecordingLog(), nowMs: () => clock.wallMs() })]);
    const read = async (): Promise<number> => {
      const text = await metrics.render();
      expect(text).not.toContain('lars_dns_tls_certificate_expiry_seconds{certificate="client"}');
      return Number(/^lars_dns_tls_certificate_expiry_seconds\{certificate="server"\} (\S+)$/m.exec(text)![1]);
    };
    expect(Math.abs((await read()) - 86_400)).toBeLessThan(10);
    clock.setWallMs(clock.wallMs() + 2 * DAY_MS);
    expect(Math.abs((await read()) + 86_400)).toBeLessThan(10);
    expect(await metrics.render()).toContain('lars_dns_tls_reloads_total{certificate="server",result="renewed"} 0');
  });
});

test("wrong files at the start are one line, thrown", () => {
  expect(() => watchFiles()).toThrow(`tls.cert_file ${join(folder, "server.crt")} cannot be read (ENOENT)`);
});

// A certificate in use, and its renewals. Whoever renews replaces files by rename, writes them in place, or turns a
// symbolic link somewhere above them; what is common to all is that the path leads to something else. So that is looked
// at once a second, which works on every file system. Certificate and key are two files and never change at once: they
// are taken when they have been the same twice in a row, so half a renewal is not an error.
//
// A renewal that is wrong changes nothing: the old certificate goes on being used, and the log and a counter say so.
import { statSync } from "node:fs";
import { type SetTimer, systemTimer } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics-port.ts";
import { readTls, type TlsMaterial, type TlsPaths } from "./tls-material.ts";

export interface TlsWatchOptions {
  readonly paths: TlsPaths;
  readonly log: Log;
  readonly nowMs: () => number;
  /** Default 1000 ms. */
  readonly pollMs?: number;
  /** Default: process. */
  readonly signals?: Pick<NodeJS.EventEmitter, "on" | "off">;
  readonly setTimer?: SetTimer;
}

/** Files that differ and were checked, to be put in force. Returns why that was not possible. */
export type OnRenewed = (material: TlsMaterial) => string | undefined;

export interface TlsCounts {
  renewed: number;
  failed: number;
}

const POLL_MS = 1000;
const DAY_MS = 86_400_000;
/** ACME tools renew a month before; who is here has a problem. */
const WARN_BEFORE_MS = 14 * DAY_MS;

export class TlsWatch {
  readonly counts: TlsCounts = { renewed: 0, failed: 0 };
  readonly #options: TlsWatchOptions;
  readonly #log: Log;
  #current: TlsMaterial;
  /** The files as they were when they were last taken or refused. */
  #seen: string;
  /** Other files, seen once. */
  #pending: string | undefined;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #onRenewed: OnRenewed | undefined;
  readonly #onHangUp = (): void => this.#reload();

  /** @throws Error with one line when the files are missing, wrong, or do not belong together */
  constructor(options: TlsWatchOptions) {
    this.#options = options;
    this.#log = options.log.with({ component: "tls" });
    this.#seen = fingerprint(options.paths);
    const result = readTls(options.paths);
    if (!result.ok) throw new Error(result.message);
    this.#current = result.material;
    this.#warnOfExpiry();
  }

  /** Whose: the metrics' label. */
  get role(): string {
    return this.#options.paths.role;
  }

  get material(): TlsMaterial {
    return this.#current;
  }

  /** Seconds; negative when it has expired, undefined without a certificate. */
  get secondsLeft(): number | undefined {
    const { expiresAtMs } = this.#current;
    return expiresAtMs === undefined ? undefined : (expiresAtMs - this.#options.nowMs()) / 1000;
  }

  /** Looks at the files now and then, and on SIGHUP. Nothing to do when there are none. */
  start(onRenewed?: OnRenewed): void {
    const { certFile, caFile } = this.#options.paths;
    if (certFile === "" && caFile === "") return;
    this.#onRenewed = onRenewed;
    (this.#options.signals ?? process).on("SIGHUP", this.#onHangUp);
    this.#next();
  }

  stop(): void {
    (this.#options.signals ?? process).off("SIGHUP", this.#onHangUp);
    this.#cancel?.();
  }

  #next(): void {
    this.#cancel = (this.#options.setTimer ?? systemTimer)(this.#options.pollMs ?? POLL_MS, () => {
      this.#look();
      this.#next();
    });
  }

  #look(): void {
    this.#warnOfExpiry();
    const now = fingerprint(this.#options.paths);
    if (now === this.#seen) {
      this.#pending = undefined;
      return;
    }
    if (now === this.#pending) this.#reload();
    else this.#pending = now;
  }

  #reload(): void {
    this.#pending = undefined;
    this.#seen = fingerprint(this.#options.paths);
    const result = readTls(this.#options.paths);
    if (!result.ok) {
      this.#keepOld(result.message);
      return;
    }
    const { material } = result;
    const before = this.#current;
    if (material.cert === before.cert && material.key === before.key && material.ca === before.ca) return;
    if (material.expiresAtMs !== undefined && material.expiresAtMs <= this.#options.nowMs()) {
      this.#keepOld(`the certificate of ${this.#options.paths.certFile} expired ${dateOf(material.expiresAtMs)}`);
      return;
    }
    const refused = this.#onRenewed?.(material);
    if (refused !== undefined) {
      this.#keepOld(refused);
      return;
    }
    this.#current = material;
    this.counts.renewed++;
    this.#warnedAtMs = Number.NEGATIVE_INFINITY;
    this.#log.info("TLS files were renewed: new connections use them", {
      certificate: this.role,
      subject: material.subject,
      expires: material.expiresAtMs === undefined ? undefined : dateOf(material.expiresAtMs),
    });
  }

  #keepOld(reason: string): void {
    this.counts.failed++;
    this.#log.error(`TLS files not renewed, the old ones stay in use: ${reason}`);
  }

  #warnOfExpiry(): void {
    const nowMs = this.#options.nowMs();
    const { expiresAtMs, subject } = this.#current;
    if (expiresAtMs === undefined || expiresAtMs - nowMs > WARN_BEFORE_MS || nowMs - this.#warnedAtMs < DAY_MS) return;
    this.#warnedAtMs = nowMs;
    const fields = { certificate: this.role, file: this.#options.paths.certFile, subject };
    if (expiresAtMs <= nowMs) {
      this.#log.error(`the TLS certificate expired ${dateOf(expiresAtMs)}: peers refuse it; renew it`, fields);
    } else this.#log.warn(`the TLS certificate expires ${dateOf(expiresAtMs)}; renew it`, fields);
  }
}

/** As lars_<process>_tls_…: seconds until certificates expire, renewals taken and refused. */
export function exposeTls(metrics: Metrics, watches: readonly TlsWatch[]): void {
  metrics.gaugeFrom(
    "tls_certificate_expiry_seconds",
    "Seconds until the certificate in use expires; negative when it has",
    () =>
      watches.flatMap(({ role, secondsLeft }) =>
        secondsLeft === undefined ? [] : [{ labels: { certificate: role }, value: secondsLeft }],
      ),
  );
  metrics.counterFrom("tls_reloads_total", "TLS files that changed, by what came of it", () =>
    watches.flatMap(({ role, counts }) =>
      Object.entries(counts).map(([result, value]) => ({
        labels: { certificate: role, result },
        value: value as number,
      })),
    ),
  );
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** Differs when a file does. Size and times of what the path leads to: cheap, and not the secret itself. */
function fingerprint({ certFile, keyFile, caFile }: TlsPaths): string {
  return [certFile, keyFile, caFile]
    .map((file) => {
      if (file === "") return "";
      try {
        const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
        return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`;
      } catch (error) {
        return (error as { code?: string }).code ?? "missing";
      }
    })
    .join(" ");
}

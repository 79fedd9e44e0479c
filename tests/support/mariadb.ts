// A MariaDB server of the tests' own: a fresh data folder, a free port on loopback, gone when the process ends. Tests
// that kill and restart a database cannot use a shared one. Starting takes about two seconds, so a test process starts
// one and gives each test a database.

import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { spawn } from "bun";
import { createConnection } from "mysql2/promise";
import { freePorts, type Placement } from "./lars-processes.ts";

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

export interface MariadbOptions {
  /** innodb_flush_log_at_trx_commit. 1 (the default): a commit survives a crash of the machine. */
  readonly flushLogAtCommit?: 0 | 1 | 2;
  /** More server options, as on its command line. */
  readonly args?: readonly string[];
  /** Elsewhere than on loopback it lets everybody in. */
  readonly placement?: Placement;
  /** Its data in memory where there is room: for tests to which a disk is nothing but slow. */
  readonly inMemory?: boolean;
}

export interface Mariadb {
  readonly port: number;
  /** mysql://… of a database. */
  url(database: string): string;
  /** Creates it empty; one of that name is dropped first. Returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** Runs a file of SQL statements, as the mysql client would. */
  load(sqlFile: string, database: string): Promise<void>;
  /** Runs statements by plain SQL, as an old tool does, on a connection of their own. Returns the last one's rows. */
  sql(database: string, ...statements: string[]): Promise<unknown[][]>;
  /** Starts again on the same data and port. */
  start(): Promise<void>;
  /** SIGTERM, and waits. */
  stop(): Promise<void>;
  /** SIGKILL, and waits. */
  kill(): Promise<void>;
  /** SIGSTOP and SIGCONT: it hangs and goes on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** Stops it for good and removes its data. */
  remove(): Promise<void>;
}

function program(...names: string[]): string {
  for (const name of names) {
    const path = Bun.which(name, { PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin:/usr/libexec` });
    if (path !== null) return path;
  }
  throw new Error(
    `these tests need a MariaDB server: ${names.join(" or ")} is not installed (Debian: apt-get install mariadb-server)`,
  );
}

const MEMORY = "/dev/shm";

/** Where files of a server of the tests' own go: into memory, if there are `neededBytes` of room. */
export function folderInMemory(neededBytes: number): string {
  if (!existsSync(MEMORY)) return tmpdir();
  const { bavail, bsize } = statfsSync(MEMORY);
  return bavail * bsize >= neededBytes ? MEMORY : tmpdir();
}

/** One server's files with room to grow. */
const NEEDED_BYTES = 1024 ** 3;

/** A server refuses to run as root unless told to. */
const USER = process.getuid?.() === 0 ? ["--user=root"] : [];

async function installInto(folder: string): Promise<void> {
  const install = spawn(
    [
      program("mariadb-install-db", "mysql_install_db"),
      "--no-defaults",
      `--datadir=${folder}`,
      ...USER,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      "--innodb-log-file-size=16M",
    ],
    // A folder of its own for temporary files, as for the server below.
    { stdout: "pipe", stderr: "pipe", env: { ...process.env, TMPDIR: dirname(folder) } },
  );
  const [code, out, err] = await Promise.all([
    install.exited,
    new Response(install.stdout).text(),
    new Response(install.stderr).text(),
  ]);
  if (code !== 0) throw new Error(`mariadb-install-db ended with ${code}:\n${out.slice(-2000)}${err.slice(-2000)}`);
}

/** Starts a server. It is killed, and its data removed, when this process ends. */
export async function startMariadb(options: MariadbOptions = {}): Promise<Mariadb> {
  const server = program("mariadbd", "mysqld");
  const home = mkdtempSync(join(options.inMemory === true ? folderInMemory(NEEDED_BYTES) : tmpdir(), "lars-mariadb-"));
  const data = join(home, "data");
  const port = await freePorts(1);
  const { address = "127.0.0.1", command = [] } = options.placement ?? {};
  const openToAll = address === "127.0.0.1" ? [] : ["--skip-grant-tables"];
  let running: ReturnType<typeof spawn> | undefined;

  // Ends with this process however that ends (a test run fires no exit handlers): its standard input closes, it kills
  // the server named in the file, if there is one, and removes the folder.
  const pidFile = join(home, "running");
  const watchdog = spawn(
    [
      "sh",
      "-c",
      'read -r _; if [ -f "$1/running" ]; then kill -9 "$(cat "$1/running")"; sleep 1; fi; rm -rf "$1"',
      "sh",
      home,
    ],
    { stdin: "pipe", stdout: "ignore", stderr: "ignore" },
  );
  watchdog.unref();
  await installInto(data);

  const connect = (database?: string, multipleStatements = false) =>
    createConnection({
      host: address,
      port,
      user: "root",
      multipleStatements,
      supportBigNumbers: true,
      ...(database === undefined ? {} : { database }),
    });

  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    const process = running;
    if (process === undefined) return;
    process.kill(signal);
    const late = setTimeout(() => process.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await process.exited;
    clearTimeout(late);
    rmSync(pidFile, { force: true });
    running = undefined;
  };

  const start = async () => {
    if (running !== undefined) return;
    const log = join(home, "log");
    const child = spawn(
      [
        ...command,
        server,
        "--no-defaults",
        `--datadir=${data}`,
        ...USER,
        `--port=${port}`,
        `--bind-address=${address}`,
        ...openToAll,
        `--socket=${join(home, "socket")}`,
        `--pid-file=${join(home, "pid")}`,
        "--skip-name-resolve",
        "--skip-log-bin",
        // A server that starts removes what others have of theirs in a folder they share.
        `--tmpdir=${home}`,
        "--innodb-log-file-size=16M",
        "--innodb-buffer-pool-size=64M",
        `--innodb-flush-log-at-trx-commit=${options.flushLogAtCommit ?? 1}`,
        ...(options.args ?? []),
      ],
      { stdout: Bun.file(log), stderr: Bun.file(log), stdin: "ignore" },
    );
    running = child;
    writeFileSync(pidFile, String(child.pid));
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await (await connect()).end();
        return;
      } catch (cause) {
        if (child.exitCode !== null || Date.now() > deadline) {
          running = undefined;
          child.kill("SIGKILL");
          const text = await Bun.file(log).text();
          throw new Error(`mariadbd did not start:\n${text.slice(-3000)}`, { cause });
        }
        await Bun.sleep(50);
      }
    }
  };

  const sql = async (database: string | undefined, statements: readonly string[]): Promise<unknown[][]> => {
    const connection = await connect(database);
    try {
      let rows: unknown = [];
      for (const statement of statements) [rows] = await connection.query({ sql: statement, rowsAsArray: true });
      return Array.isArray(rows) ? (rows as unknown[][]) : [];
    } finally {
      await connection.end();
    }
  };

  await start();
  return {
    port,
    url: (database) => `mysql://root@${address}:${port}/${database}`,
    async createDatabase(name) {
      await sql(undefined, [`DROP DATABASE IF EXISTS \`${name}\``, `CREATE DATABASE \`${name}\``]);
      return `mysql://root@${address}:${port}/${name}`;
    },
    async load(sqlFile, database) {
      const connection = await connect(database, true);
      try {
        await connection.query(await Bun.file(sqlFile).text());
      } finally {
        await connection.end();
      }
    },
    sql: (database, ...statements) => sql(database, statements),
    start,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    signal: (signal) => running?.kill(signal),
    async remove() {
      await end("SIGTERM");
      watchdog.stdin.end();
      await watchdog.exited;
    },
  };
}

let shared: Promise<Mariadb> | undefined;

/** One server, in memory, for all tests of a file: start it in beforeAll, {@link Mariadb.remove} it in afterAll. */
export function sharedMariadb(): Promise<Mariadb> {
  shared ??= startMariadb({ inMemory: true }).then((mariadb) => ({
    ...mariadb,
    remove() {
      shared = undefined;
      return mariadb.remove();
    },
  }));
  return shared;
}

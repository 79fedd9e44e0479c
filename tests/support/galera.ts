// A three-node Galera cluster of the tests' own, on loopback: three mariadbd processes from the distribution's packages,
// without systemd, each with a folder and ports of its own. The first node bootstraps and the others join by rsync, which
// takes about five seconds, so a test file starts one cluster and gives each test a database.
//
// Two things the packages do for a node under systemd are done here by hand. A node that was killed does not know where
// it stopped; asked with --wsrep-recover, it finds out, and then takes only what it missed instead of all. And where all
// nodes are down, the one that went last bootstraps again.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Connection, createConnection } from "mysql2/promise";
import { eventually } from "./eventually.ts";
import { freePorts } from "./lars-processes.ts";
import { folderInMemory } from "./mariadb.ts";

const SIZE = 3;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
/** A joiner may find its turn taken (one donor serves one joiner) or lose a race as it starts; then it is started again. */
const START_ATTEMPTS = 4;
const PROVIDERS = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"];

/** Three nodes' files with room to grow. */
const NEEDED_BYTES = 2 * 1024 ** 3;

export interface GaleraOptions {
  /** More of wsrep_provider_options, as "name=value;name=value". Default: Galera's own defaults. */
  readonly providerOptions?: string;
}

function program(name: string): string {
  const path = Bun.which(name, { PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin:/usr/libexec` });
  if (path === null)
    throw new Error(
      `these tests need a Galera cluster: ${name} is not installed (Debian: apt-get install mariadb-server)`,
    );
  return path;
}

/** State transfers run an rsync daemon, which as root would become "nobody": under root, nodes run as the package's user. */
const IS_ROOT = process.getuid?.() === 0;

async function must(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [code, out, err] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}:\n${out.slice(-2000)}${err.slice(-2000)}`);
  return out + err;
}

export class GaleraNode {
  readonly port: number;
  readonly #home: string;
  readonly #config: string;
  #retired = false;
  #child: Bun.Subprocess | undefined;

  constructor(
    readonly index: number,
    home: string,
    firstPort: number,
    options: GaleraOptions,
  ) {
    this.#home = join(home, `node-${index}`);
    this.port = firstPort + index;
    mkdirSync(join(this.#home, "data"), { recursive: true });
    const group = (i: number) => `127.0.0.1:${firstPort + SIZE + i}`;
    const provider = PROVIDERS.find((path) => existsSync(path));
    if (provider === undefined) {
      throw new Error("these tests need the Galera library, which is not installed (Debian: apt-get install galera-4)");
    }
    this.#config = join(this.#home, "cnf");
    writeFileSync(
      this.#config,
      `[mysqld]
datadir=${join(this.#home, "data")}
tmpdir=${this.#home}
${IS_ROOT ? "user=mysql" : ""}
port=${this.port}
bind-address=127.0.0.1
socket=${join(this.#home, "socket")}
pid-file=${join(this.#home, "pid")}
skip-name-resolve
skip-log-bin
binlog-format=ROW
innodb-autoinc-lock-mode=2
innodb-log-file-size=16M
innodb-buffer-pool-size=48M
innodb-flush-log-at-trx-commit=2
wsrep-on=ON
wsrep-provider=${provider}
wsrep-cluster-name=lars-tests-${firstPort}
wsrep-cluster-address=gcomm://${Array.from({ length: SIZE }, (_, i) => group(i)).join(",")}
wsrep-node-address=127.0.0.1
wsrep-node-name=node-${index}
wsrep-sst-method=rsync
wsrep-sst-receive-address=127.0.0.1:${firstPort + 3 * SIZE + index}
wsrep-provider-options=gmcast.listen_addr=tcp://${group(index)};ist.recv_addr=127.0.0.1:${firstPort + 2 * SIZE + index};gcache.size=64M${options.providerOptions === undefined ? "" : `;${options.providerOptions}`}
`,
    );
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  get log(): string {
    return readFileSync(join(this.#home, "log"), "utf8");
  }

  async connect(database?: string): Promise<Connection> {
    return await createConnection({
      host: "127.0.0.1",
      port: this.port,
      user: "root",
      supportBigNumbers: true,
      connectTimeout: 5_000,
      ...(database === undefined ? {} : { database }),
    });
  }

  /** Runs statements on a connection of their own. Returns the last one's rows. Reads here may be stale, as anybody's. */
  async sql(database: string | undefined, ...statements: string[]): Promise<unknown[][]> {
    const connection = await this.connect(database);
    try {
      let rows: unknown = [];
      for (const sql of statements) [rows] = await connection.query({ sql, rowsAsArray: true, timeout: 30_000 });
      return Array.isArray(rows) ? (rows as unknown[][]) : [];
    } finally {
      connection.destroy();
    }
  }

  /** The tables a server begins with. */
  async install(): Promise<void> {
    const data = join(this.#home, "data");
    await must([
      program("mariadb-install-db"),
      "--no-defaults",
      `--datadir=${data}`,
      `--tmpdir=${this.#home}`,
      ...(IS_ROOT ? ["--user=root"] : []),
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      "--innodb-log-file-size=16M",
    ]);
    if (IS_ROOT) await must(["chown", "-R", "mysql:", this.#home]);
  }

  /** Starts it and waits until it serves. `bootstrap`: as the first of a new group. */
  async start(bootstrap = false): Promise<void> {
    if (this.#child !== undefined || this.#retired) return;
    for (let attempt = 1; ; attempt++) {
      const position = await this.#recover();
      if (bootstrap) this.#allowBootstrap();
      const child = this.#launch(bootstrap, position);
      try {
        await eventually(
          async () => {
            if (child.exitCode !== null || child.signalCode !== null) return;
            await this.expectSynced();
          },
          { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
        );
      } catch (error) {
        await this.kill();
        throw new Error(`node ${this.index} did not come up:\n${this.log.slice(-3000)}`, { cause: error });
      }
      if (this.#retired || (child.exitCode === null && child.signalCode === null)) return;
      if (attempt >= START_ATTEMPTS) {
        throw new Error(`node ${this.index} ended ${attempt} times as it started:\n${this.log.slice(-3000)}`);
      }
    }
  }

  async expectSynced(): Promise<void> {
    const rows = await this.sql(undefined, "SHOW STATUS LIKE 'wsrep_local_state_comment'");
    if (rows[0]?.[1] !== "Synced") throw new Error(`node ${this.index} is ${rows[0]?.[1]}`);
  }

  /** SIGTERM, and waits. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** SIGKILL, and waits. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** For good: whoever is just starting it does not try again, or its process would outlive the test. */
  retire(): Promise<void> {
    this.#retired = true;
    return this.kill();
  }

  /** SIGSTOP: it holds its connections and answers nothing. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  #launch(bootstrap: boolean, position: string | undefined): Bun.Subprocess {
    const log = Bun.file(join(this.#home, "log"));
    const child = Bun.spawn(
      [
        program("mariadbd"),
        `--defaults-file=${this.#config}`,
        ...(bootstrap ? ["--wsrep-new-cluster"] : []),
        ...(position === undefined ? [] : [`--wsrep-start-position=${position}`]),
      ],
      { stdin: "ignore", stdout: log, stderr: log },
    );
    this.#child = child;
    const running = join(this.#home, "running");
    writeFileSync(running, String(child.pid));
    void child.exited.then(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      rmSync(running, { force: true });
    });
    return child;
  }

  /** Where a node that was killed had got to; undefined when there is nothing to recover. */
  async #recover(): Promise<string | undefined> {
    const state = join(this.#home, "data/grastate.dat");
    if (!existsSync(state) || !/seqno:\s+-1/.test(readFileSync(state, "utf8"))) return undefined;
    const text = await must([
      program("mariadbd"),
      `--defaults-file=${this.#config}`,
      "--wsrep-recover",
      "--disable-log-error",
    ]);
    return /Recovered position:\s*(\S+:-?\d+)/.exec(text)?.[1];
  }

  #allowBootstrap(): void {
    const state = join(this.#home, "data/grastate.dat");
    if (!existsSync(state)) return;
    writeFileSync(state, readFileSync(state, "utf8").replace(/safe_to_bootstrap: 0/, "safe_to_bootstrap: 1"));
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill("SIGCONT");
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await child.exited;
    clearTimeout(late);
  }
}

export interface Galera {
  readonly nodes: readonly GaleraNode[];
  node(i: number): GaleraNode;
  /** mysql://… of a database, with the nodes in this order of preference. */
  url(database: string, order?: readonly number[]): string;
  /** Creates it empty, on all nodes; one of that name is dropped first. Returns its URL. */
  createDatabase(name: string, order?: readonly number[]): Promise<string>;
  sql(i: number, database: string | undefined, ...statements: string[]): Promise<unknown[][]>;
  /** Until all nodes that run see each other and are in step. */
  waitSynced(): Promise<void>;
  /** Starts what does not run and waits until all are in step. */
  heal(): Promise<void>;
  /** Ends all nodes and removes their data. */
  remove(): Promise<void>;
}

/** Starts a cluster. Its processes are killed, and its data removed, when this process ends. */
export async function startGalera(options: GaleraOptions = {}): Promise<Galera> {
  const home = mkdtempSync(join(folderInMemory(NEEDED_BYTES), "lars-galera-"));
  // However this process ends, its standard input closes: the watchdog then kills what the files name.
  const watchdog = Bun.spawn(
    [
      "sh",
      "-c",
      'read -r _; for f in "$1"/*/running; do [ -f "$f" ] && kill -9 "$(cat "$f")"; done; sleep 1; rm -rf "$1"',
      "sh",
      home,
    ],
    { stdin: "pipe", stdout: "ignore", stderr: "ignore" },
  );
  watchdog.unref();
  const firstPort = await freePorts(4 * SIZE);
  const nodes = Array.from({ length: SIZE }, (_, i) => new GaleraNode(i, home, firstPort, options));
  if (IS_ROOT) await must(["chown", "-R", "mysql:", home]);
  const first = nodes[0]!;
  await first.install();
  await first.start(true);
  await Promise.all(nodes.slice(1).map((node) => node.start()));

  const url = (database: string, order: readonly number[] = [0, 1, 2]) =>
    `mysql://root@${order.map((i) => `127.0.0.1:${nodes[i]!.port}`).join(",")}/${database}`;
  const waitSynced = async () => {
    const running = nodes.filter((node) => node.isRunning);
    await eventually(
      async () => {
        for (const node of running) {
          await node.expectSynced();
          const size = (await node.sql(undefined, "SHOW STATUS LIKE 'wsrep_cluster_size'"))[0]?.[1];
          if (size !== String(running.length))
            throw new Error(`node ${node.index} sees ${size} nodes of ${running.length}`);
        }
      },
      { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
    );
  };
  await waitSynced();
  return {
    nodes,
    node: (i) => nodes[i]!,
    url,
    async createDatabase(name, order) {
      await first.sql(undefined, `DROP DATABASE IF EXISTS \`${name}\``, `CREATE DATABASE \`${name}\``);
      return url(name, order);
    },
    sql: (i, database, ...statements) => nodes[i]!.sql(database, ...statements),
    waitSynced,
    async heal() {
      for (const node of nodes) node.resume();
      if (!nodes.some((node) => node.isRunning)) await first.start(true);
      await Promise.all(nodes.map((node) => node.start()));
      await waitSynced();
    },
    async remove() {
      await Promise.all(nodes.map((node) => node.retire()));
      watchdog.stdin.end();
      await watchdog.exited;
    },
  };
}

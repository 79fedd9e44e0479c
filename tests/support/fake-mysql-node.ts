// A database node that is whatever a test wants: it speaks enough of the protocol for a connection, says of itself what
// it is told to say, and can refuse, hang or go away at any moment. For the pool's choice among nodes, which a real
// cluster takes seconds to be brought into.
import type { AddressInfo, Server } from "node:net";
import { type Connection, createServer } from "mysql2";

export interface FakeState {
  /** As SHOW GLOBAL VARIABLES and STATUS give them. */
  facts: Record<string, string>;
  /** Every statement but SHOW, SET and ROLLBACK fails with this; only `once`: the next that reads so, and no other. */
  refuses: { code: number; message: string; once?: string } | undefined;
  /** Nothing is answered; connections are taken. */
  hangs: boolean;
}

/** Bits of a result's status. */
const AUTOCOMMIT = 2;
const MORE_RESULTS = 8;

const GALERA = {
  wsrep_on: "ON",
  wsrep_ready: "ON",
  wsrep_cluster_status: "Primary",
  wsrep_local_state: "4",
  read_only: "OFF",
};

export class FakeNode implements FakeState {
  facts: Record<string, string> = { ...GALERA };
  refuses: FakeState["refuses"];
  hangs = false;
  port = 0;
  /** Statements other than SHOW and SET, in order. */
  readonly statements: string[] = [];
  /** SET statements of all connections. */
  readonly settings: string[] = [];
  /** What came together. */
  readonly packets: string[] = [];
  /** How many packets were one block of statements. */
  blocks = 0;
  connections = 0;
  #server: ReturnType<typeof createServer> | undefined;
  readonly #open = new Set<Connection>();

  static async start(): Promise<FakeNode> {
    const node = new FakeNode();
    await node.up();
    return node;
  }

  get openConnections(): number {
    return this.#open.size;
  }

  /** Listens, on the same port as before. */
  async up(): Promise<void> {
    const server = createServer((connection) => this.#serve(connection));
    this.#server = server;
    const { _server: listener } = server as unknown as { _server: Server };
    await new Promise<void>((resolve) => listener.listen(this.port, "127.0.0.1", resolve));
    this.port = (listener.address() as AddressInfo).port;
  }

  /** Ends all connections and refuses new ones. */
  async down(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const connection of this.#open) connection.destroy();
    this.#open.clear();
    await closed;
  }

  #serve(connection: Connection): void {
    this.connections++;
    this.#open.add(connection);
    connection.on("error", () => {});
    connection.on("end", () => this.#open.delete(connection));
    const { stream } = connection as unknown as { stream: { on(event: "close", then: () => void): void } };
    stream.on("close", () => this.#open.delete(connection));
    // A server that says nothing: the greeting already does not come.
    if (this.hangs) return;
    const server = connection as unknown as {
      serverHandshake(options: Record<string, unknown>): void;
      writeOk(result?: { affectedRows: number; serverStatus?: number }): void;
      writeError(error: { code: number; message: string }): void;
      writeTextResult(rows: unknown[], columns: unknown[]): void;
      on(event: "query" | "stmt_prepare", then: (sql: string) => void): void;
      /** The driver counts a conversation's packets; each answer ends one. */
      _resetSequenceId(): void;
    };
    server.serverHandshake({
      protocolVersion: 10,
      serverVersion: "10.11.0-fake",
      connectionId: this.connections,
      statusFlags: 2,
      characterSet: 8,
      capabilityFlags: 0xff_f7_ff ^ 2048,
      authCallback: (_: unknown, done: (error: null) => void) => {
        done(null);
        server._resetSequenceId();
      },
    });
    // Several in one packet are run up to the first that fails, and each is answered.
    const run = (packet: string): void => {
      this.packets.push(packet);
      // A block is answered once, however many statements it has.
      const [, first = "", block] = /^(.*;)?BEGIN NOT ATOMIC (.*);END$/s.exec(packet) ?? [];
      if (block !== undefined) this.blocks++;
      const statements = (block === undefined ? packet : first + block).split(";");
      const outside = block === undefined ? statements.length : first.split(";").length - 1;
      for (const [i, sql] of statements.entries()) {
        this.statements.push(sql);
        const refused = this.refuses;
        if (refused === undefined || sql === "ROLLBACK" || (refused.once ?? sql) !== sql) {
          const isLast = i === statements.length - 1;
          if (i >= outside && !isLast) continue;
          server.writeOk({ affectedRows: 0, serverStatus: isLast ? AUTOCOMMIT : AUTOCOMMIT | MORE_RESULTS });
          continue;
        }
        if (refused.once !== undefined) this.refuses = undefined;
        server.writeError(refused);
        return;
      }
    };
    const answer = (sql: string): void => {
      if (this.hangs) return;
      if (sql.startsWith("SHOW")) {
        const rows = Object.entries(this.facts).filter(([name]) => sql.includes(`'${name}'`));
        const column = (name: string) => ({
          ...{ catalog: "def", schema: "", table: "", orgTable: "", name, orgName: name },
          ...{ characterSet: 33, columnLength: 300, columnType: 253, flags: 0, decimals: 0 },
        });
        server.writeTextResult(
          rows.map(([Variable_name, Value]) => ({ Variable_name, Value })),
          [column("Variable_name"), column("Value")],
        );
      } else if (sql.startsWith("SET")) {
        this.settings.push(sql);
        server.writeOk();
      } else run(sql);
      server._resetSequenceId();
    };
    server.on("query", answer);
    // The driver takes every SET for a prepared statement.
    server.on("stmt_prepare", answer);
  }
}

// Statements on one connection, as few round trips as can be. A transaction is twenty statements of which four say
// something that the rest depends on; each costs the process a write, a read and a wake-up, and all of them together are
// the time for which everybody else waits for the lock. So several go in one packet, one after another: the server stops
// at the first that fails, and its error is the packet's.
//
// Each of them is answered, though, and where nobody wants to know what it did, that is a packet to send, to receive and to
// look at for nothing: a dozen for a transaction. MariaDB takes them as one block, which is answered once; that halves
// what a transaction costs us (563 to 327 us with 21 rows in each of six tables) and costs the server no more.
//
// Not on a Galera node. There a transaction of ours is thrown away when one of another node meets it, and if that happens
// between two statements of one packet, the server goes on with the next as if nothing were, each committed by itself:
// half a change, and a lock that is not held (seen with MariaDB 10.11 and writers on two nodes). Sent one by one, the
// statement after is refused as a deadlock, and the transaction repeated as a whole.
//
// A server takes several statements in one packet from whoever asked for that when connecting, and with it an injected
// text could bring statements of its own along. What came from outside is bound, never part of a statement's text, and so
// a text that has a semicolon is refused as a bug. Only migrations, which are files of ours, may have some.
import type { Connection, ResultSetHeader } from "mysql2/promise";
import type { SqlRow, SqlSession, SqlStatement, SqlValue } from "../sql/sql-database.ts";
import { boundText } from "./bound-text.ts";

/** What waits to be sent with others, in characters: a packet may have 16 MiB. */
const MAX_POSTED = 1_000_000;

/**
 * together: what may wait goes with what follows. block: and what nobody awaits the answers of is one statement to the
 * server. apart: a packet has one statement. file: as apart, and the statement comes from a file of ours.
 */
export type Packets = "together" | "block" | "apart" | "file";

/** What mysql2's promises are made on. */
interface PlainConnection {
  query(
    options: { readonly sql: string; readonly rowsAsArray: boolean; readonly timeout: number },
    answered: (error: Error | null, results: unknown) => void,
  ): { once(event: "result", then: () => void): unknown };
}

export class MysqlSession implements SqlSession {
  readonly #connection: Connection;
  readonly #timeoutMs: number;
  readonly #scanTimeoutMs: number;
  readonly #packets: Packets;
  #posted: string[] = [];
  /** So many of them take effect first. */
  #leading = 0;
  #begun: (() => void) | undefined;
  #size = 0;
  #wrote = false;

  constructor(connection: Connection, timeoutMs: number, scanTimeoutMs: number, packets: Packets) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
    this.#scanTimeoutMs = scanTimeoutMs;
    this.#packets = packets;
  }

  get #packs(): boolean {
    return this.#packets === "together" || this.#packets === "block";
  }

  /** Whether anything was written through it, or is about to be. */
  get wrote(): boolean {
    return this.#wrote;
  }

  async rows<Row extends SqlRow>(sql: string, params?: readonly SqlValue[], scan = false): Promise<Row[]> {
    const [rows] = await this.#send([this.#text({ sql, ...(params && { params }) })], scan);
    return rows as Row[];
  }

  async rowsOfAll(queries: readonly SqlStatement[]): Promise<SqlRow[][]> {
    if (this.#packs) return (await this.#send(queries.map((query) => this.#text(query)))) as SqlRow[][];
    const all: SqlRow[][] = [];
    for (const { sql, params } of queries) all.push(await this.rows(sql, params));
    return all;
  }

  async run(sql: string, params?: readonly SqlValue[]): Promise<number> {
    this.#wrote = true;
    const [result] = await this.#send([this.#text({ sql, ...(params && { params }) })]);
    return (result as ResultSetHeader).affectedRows;
  }

  async post(sql: string, params?: readonly SqlValue[]): Promise<void> {
    this.#wrote = true;
    this.#keep(this.#text({ sql, ...(params && { params }) }));
    if (this.#size >= MAX_POSTED || !this.#packs) await this.flush();
  }

  async lead(sql: string, begun?: () => void): Promise<void> {
    this.#begun = begun;
    await this.post(sql);
    this.#leading = this.#posted.length;
  }

  /** A statement that says nothing of the data, sent as if it were posted. */
  prepare(sql: string): void {
    this.#keep(sql);
  }

  /** A statement that says nothing of the data, with all that was posted before it. */
  async say(sql: string): Promise<void> {
    await this.#tell([sql]);
  }

  /** Sends what was posted. */
  async flush(): Promise<void> {
    if (this.#posted.length > 0) await this.#tell([]);
  }

  /** What was posted and not sent is not to be sent any more. */
  forget(): void {
    this.#posted = [];
    this.#leading = 0;
    this.#begun = undefined;
    this.#size = 0;
  }

  #keep(text: string): void {
    this.#posted.push(text);
    this.#size += text.length;
  }

  #text({ sql, params = [] }: SqlStatement): string {
    if (this.#packets !== "file" && sql.includes(";"))
      throw new Error(
        `expected a statement without a semicolon, got ${sql.slice(0, 200)}; bind what it says as a parameter`,
      );
    return params.length === 0 ? sql : boundText(sql, params, (value) => this.#connection.escape(value));
  }

  /** As {@link #send}, where nobody wants to know more than that nothing failed. */
  async #tell(texts: readonly string[]): Promise<void> {
    const leading = this.#leading;
    const all = [...this.#posted, ...texts];
    if (this.#packets !== "block" || all.length - leading < 2) return void (await this.#send(texts));
    const begun = this.#begun;
    this.forget();
    // A block is read as a whole before it begins.
    const block = `BEGIN NOT ATOMIC ${all.slice(leading).join(";")};END`;
    await this.#query([...all.slice(0, leading), block].join(";"), false, begun);
  }

  /** What `texts` answered; what was posted goes before them. */
  async #send(texts: readonly string[], scan = false): Promise<unknown[]> {
    const posted = this.#posted;
    const begun = this.#begun;
    this.forget();
    const all = posted.length === 0 ? texts : [...posted, ...texts];
    if (!this.#packs && all.length > 1) {
      const answers: unknown[] = [];
      for (const text of all) answers.push(...(await this.#send([text], scan)));
      return answers.slice(posted.length);
    }
    const results = await this.#query(all.length === 1 ? all[0]! : all.join(";"), scan, begun);
    // One statement answers with its result, several with a list of theirs.
    return all.length === 1 ? [results] : (results as unknown[]).slice(posted.length);
  }

  /** `begun`: called when the first statement was answered, which is sent at once, whatever the others wait for. */
  #query(sql: string, scan: boolean, begun: (() => void) | undefined): Promise<unknown> {
    const query = { sql, rowsAsArray: true, timeout: scan ? this.#scanTimeoutMs : this.#timeoutMs };
    if (begun === undefined) return this.#connection.query(query).then(([results]) => results);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    // A promise tells of the end only; the connection it is made on, of each answer.
    const { connection } = this.#connection as unknown as { readonly connection: PlainConnection };
    const answered = (error: Error | null, results: unknown) => (error === null ? resolve(results) : reject(error));
    connection.query(query, answered).once("result", begun);
    return promise;
  }
}

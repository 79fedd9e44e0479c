// Connections to a MySQL server that takes encrypted ones only: a plain one is refused, and so is by us a server that
// cannot show whose it is.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { databaseOptions } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { temporaryFolder } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { TlsAuthority, writeIssued } from "../support/tls-authority.ts";

const authority = new TlsAuthority();
let mariadb: Mariadb;
let url = "";
beforeAll(async () => {
  const folder = temporaryFolder("mariadb-tls");
  const caFile = join(folder, "ca.crt");
  writeFileSync(caFile, authority.ca);
  // For the address, and for no name.
  const { cert, key } = writeIssued(folder, "server", authority.issue({ names: [] }));
  mariadb = await startMariadb({
    inMemory: true,
    args: [`--ssl-ca=${caFile}`, `--ssl-cert=${cert}`, `--ssl-key=${key}`],
  });
  url = await mariadb.createDatabase("lars");
  await mariadb.sql("lars", "SET GLOBAL require_secure_transport = ON");
}, 120_000);
afterAll(() => mariadb?.remove(), 60_000);

const section = { pool_size: 2, connect_timeout_ms: 3000, query_timeout_ms: 5000 };

/** "ok", or why not. */
async function ping(at: string, tlsCa: string | undefined): Promise<string> {
  const database = await openDatabase(
    at,
    databaseOptions({ ...section, tls_ca_file: tlsCa === undefined ? "" : "ca" }, tlsCa),
  );
  try {
    await database.ping();
    return "ok";
  } catch (error) {
    return String(error);
  } finally {
    await database.close();
  }
}

test("with the server's CA it is used, encrypted; without any the server refuses", async () => {
  expect(await ping(url, authority.ca)).toBe("ok");
  expect(await ping(url, undefined)).toMatch(/no connection to the database .*(Access denied|insecure transport)/);
});

test("a server of another CA, or whose certificate is for another host than the URL's, is refused", async () => {
  expect(await ping(url, new TlsAuthority().ca)).toContain("self signed certificate in certificate chain");
  expect(await ping(url.replace("127.0.0.1", "localhost"), authority.ca)).toContain("does not match certificate");
});

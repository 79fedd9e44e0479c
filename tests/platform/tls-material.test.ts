import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readTls, type TlsPaths } from "../../src/platform/tls-material.ts";
import { temporaryFolder } from "../support/lars-processes.ts";
import { TlsAuthority, writeIssued } from "../support/tls-authority.ts";

const folder = temporaryFolder("tls");
const authority = new TlsAuthority();
const good = writeIssued(folder, "good", authority.issue({ name: "dns one" }));
const other = writeIssued(folder, "other", authority.issue());

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const caFile = file("ca.crt", authority.ca);
const bundle = file("bundle.crt", `a comment\n${new TlsAuthority().ca}\n${authority.ca}`);
const damaged = file("damaged.crt", authority.ca.replace(/\n[A-Za-z0-9+/]{8}/, "\nAAAAAAAA"));
const text = file("text.pem", "not a certificate");
const encrypted = file(
  "encrypted.key",
  "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
);
const secret = file("secret.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldA==\n-----END PRIVATE KEY-----\n");
const none = join(folder, "none.pem");

const server = (certFile: string, keyFile: string, ca = ""): TlsPaths => ({
  role: "server",
  certFile,
  keyFile,
  caFile: ca,
});
const client = (certFile: string, keyFile: string, ca = ""): TlsPaths => ({
  role: "client",
  certFile,
  keyFile,
  caFile: ca,
});

test.each<[string, TlsPaths]>([
  ["a certificate and its key", server(good.cert, good.key)],
  ["with a client CA", server(good.cert, good.key, caFile)],
  ["with several CAs in a file", server(good.cert, good.key, bundle)],
  ["nothing at all", server("", "")],
  ["a client's CA alone", client("", "", caFile)],
])("taken: %s", (_, paths) => {
  const result = readTls(paths);
  expect(result.ok).toBe(true);
});

test("what is read are the texts, the subject and when it expires", () => {
  const result = readTls(server(good.cert, good.key, caFile));
  if (!result.ok) throw new Error(result.message);
  const { material } = result;
  expect(material).toMatchObject({ ca: authority.ca, subject: "CN=dns one" });
  expect(material.expiresAtMs! - Date.now()).toBeGreaterThan(89 * 86_400_000);
  expect(material.expiresAtMs! - Date.now()).toBeLessThan(91 * 86_400_000);
});

test.each<[string, TlsPaths, string]>([
  ["a key alone", server("", good.key), "tls.key_file is set and tls.cert_file is not; set both or none"],
  [
    "a certificate alone",
    client(good.cert, ""),
    "client_tls.cert_file is set and client_tls.key_file is not; set both or none",
  ],
  [
    "a client CA alone",
    server("", "", caFile),
    "tls.client_ca_file is set and tls.cert_file is not; set cert_file and key_file too",
  ],
  [
    "no file",
    server(none, good.key),
    `tls.cert_file ${none} cannot be read (ENOENT); give a PEM file that this process may read`,
  ],
  ["a folder", server(good.cert, folder), `tls.key_file ${folder} cannot be read (EISDIR)`],
  ["no CA file", client("", "", none), `client_tls.ca_file ${none} cannot be read (ENOENT)`],
  [
    "a text",
    server(text, good.key),
    `tls.cert_file ${text} holds no certificate; give PEM text that begins with -----BEGIN CERTIFICATE-----`,
  ],
  ["a text as CA", server(good.cert, good.key, text), `tls.client_ca_file ${text} holds no certificate`],
  [
    "a damaged CA",
    server(good.cert, good.key, damaged),
    `tls.client_ca_file ${damaged}: certificate 1 of 1 is damaged`,
  ],
  ["the key as certificate", server(good.key, good.key), `tls.cert_file ${good.key} holds no certificate`],
  [
    "the certificate as key",
    server(good.cert, good.cert),
    `tls.key_file ${good.cert} holds no private key that can be read`,
  ],
  [
    "an encrypted key",
    server(good.cert, encrypted),
    `tls.key_file ${encrypted} is encrypted; give a key without a passphrase`,
  ],
  [
    "a key of another certificate",
    server(good.cert, other.key),
    `tls.key_file ${other.key} is not the key of the first certificate in tls.cert_file ${good.cert} (CN=dns one)`,
  ],
])("refused in one line: %s", (_, paths, message) => {
  const result = readTls(paths);
  expect(result.ok ? "taken" : result.message).toStartWith(message);
  expect(result.ok || result.message.includes("\n")).toBe(false);
});

test("a refused key is not shown", () => {
  const result = readTls(server(good.cert, secret));
  expect(JSON.stringify(result)).toContain("holds no private key");
  expect(JSON.stringify(result)).not.toContain("c2VjcmV0");
});

// Certificates, keys and CA files, read and checked before anything listens with them or connects. A mistake here shows
// at the peer as a failed handshake without a reason, so it is found where it is made: which file, what is wrong with it,
// and what would do.
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { projectPath } from "./project-paths.ts";

/** Absolute paths; empty: none. Messages name the configuration's keys, [tls] of a server and [client_tls] of a client. */
export interface TlsPaths {
  readonly role: "server" | "client";
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

/** The texts of the files, undefined where none is configured. */
export interface TlsMaterial {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
  /** When the own certificate expires, wall clock; undefined without one. */
  readonly expiresAtMs: number | undefined;
  readonly subject: string | undefined;
}

export type TlsResult =
  | { readonly ok: true; readonly material: TlsMaterial }
  | { readonly ok: false; readonly message: string };

const PEM_BLOCK = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;
/** A chain has a few certificates, a CA bundle some hundreds. */
const MAX_FILE_BYTES = 4 * 1_048_576;

const SECTIONS = { server: "tls", client: "client_tls" } as const;
const CA_KEYS = { server: "client_ca_file", client: "ca_file" } as const;

class Refused extends Error {}

/** From the [tls] section. Relative paths count from the project's folder. */
export function serverTlsPaths(section: {
  readonly cert_file: string;
  readonly key_file: string;
  readonly client_ca_file: string;
}): TlsPaths {
  return {
    role: "server",
    certFile: absolute(section.cert_file),
    keyFile: absolute(section.key_file),
    caFile: absolute(section.client_ca_file),
  };
}

/** From the [client_tls] section. */
export function clientTlsPaths(section: {
  readonly ca_file: string;
  readonly cert_file: string;
  readonly key_file: string;
}): TlsPaths {
  return {
    role: "client",
    certFile: absolute(section.cert_file),
    keyFile: absolute(section.key_file),
    caFile: absolute(section.ca_file),
  };
}

function absolute(path: string): string {
  return path === "" ? "" : projectPath(path);
}

/** What a listener is given; undefined: plain. */
export function listenerTls({
  cert,
  key,
  ca,
}: TlsMaterial): { readonly cert: string; readonly key: string; readonly clientCa: string | undefined } | undefined {
  return cert === undefined || key === undefined ? undefined : { cert, key, clientCa: ca };
}

/**
 * The text of a file of CA certificates, undefined for none. `name`: the configuration's key.
 * @throws Error with one line when it cannot be used
 */
export function readCaFile(name: string, path: string): string | undefined {
  const file = absolute(path);
  const text = textOf(name, file);
  if (text !== undefined) certificatesOf(name, file, text);
  return text;
}

/** Reads and checks what `paths` name. Dates are not judged here: see {@link TlsMaterial.expiresAtMs}. */
export function readTls(paths: TlsPaths): TlsResult {
  const section = SECTIONS[paths.role];
  const caKey = CA_KEYS[paths.role];
  try {
    if ((paths.certFile === "") !== (paths.keyFile === "")) {
      const [given, lacking] = paths.certFile === "" ? ["key_file", "cert_file"] : ["cert_file", "key_file"];
      throw new Refused(`${section}.${given} is set and ${section}.${lacking} is not; set both or none`);
    }
    if (paths.role === "server" && paths.caFile !== "" && paths.certFile === "") {
      throw new Refused(`${section}.${caKey} is set and ${section}.cert_file is not; set cert_file and key_file too`);
    }
    const cert = textOf(`${section}.cert_file`, paths.certFile);
    const key = textOf(`${section}.key_file`, paths.keyFile);
    const ca = textOf(`${section}.${caKey}`, paths.caFile);
    if (ca !== undefined) certificatesOf(`${section}.${caKey}`, paths.caFile, ca);
    const own = cert === undefined ? undefined : certificatesOf(`${section}.cert_file`, paths.certFile, cert)[0]!;
    if (own !== undefined && key !== undefined && !own.checkPrivateKey(keyOf(paths, key))) {
      throw new Refused(
        `${section}.key_file ${paths.keyFile} is not the key of the first certificate in ${section}.cert_file ` +
          `${paths.certFile} (${subjectOf(own)}); give the pair that was issued together`,
      );
    }
    return {
      ok: true,
      material: {
        cert,
        key,
        ca,
        expiresAtMs: own === undefined ? undefined : Date.parse(own.validTo),
        subject: own === undefined ? undefined : subjectOf(own),
      },
    };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, message: error.message };
    throw error;
  }
}

function textOf(name: string, file: string): string | undefined {
  if (file === "") return undefined;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code = String(error) } = error as { code?: string };
    throw new Refused(`${name} ${file} cannot be read (${code}); give a PEM file that this process may read`);
  }
  if (text.length > MAX_FILE_BYTES)
    throw new Refused(`${name} ${file} has ${text.length} characters; at most ${MAX_FILE_BYTES} are read`);
  return text;
}

function certificatesOf(name: string, file: string, text: string): readonly X509Certificate[] {
  const blocks = text.match(PEM_BLOCK);
  if (blocks === null)
    throw new Refused(
      `${name} ${file} holds no certificate; give PEM text that begins with -----BEGIN CERTIFICATE-----`,
    );
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw new Refused(
        `${name} ${file}: certificate ${index + 1} of ${blocks.length} is damaged; copy the file again`,
      );
    }
  });
}

function keyOf({ role, keyFile }: TlsPaths, text: string): KeyObject {
  const section = SECTIONS[role];
  if (/ENCRYPTED/.test(text))
    throw new Refused(
      `${section}.key_file ${keyFile} is encrypted; give a key without a passphrase that only this process's user may read`,
    );
  try {
    return createPrivateKey(text);
  } catch {
    // The library's words are about its own parsing, and the text is a secret.
    throw new Refused(
      `${section}.key_file ${keyFile} holds no private key that can be read; give PEM text that begins with ` +
        "-----BEGIN PRIVATE KEY-----",
    );
  }
}

function subjectOf(certificate: X509Certificate): string {
  return certificate.subject?.replaceAll("\n", ", ") || certificate.subjectAltName || "without a name";
}

// What our TCP sockets need to speak TLS, and how Bun is told. Texts, not paths: who reads files, checks them and notices
// that they were renewed is elsewhere. Bun's least version is TLS 1.2 (a test holds it to that).

/** PEM texts of a listener. */
export interface ServerTls {
  /** The certificate, then the intermediate ones. */
  readonly cert: string;
  readonly key: string;
  /** Given: clients must show a certificate signed by one of these CAs (mutual TLS). */
  readonly clientCa?: string | undefined;
}

/** PEM texts of a client. */
export interface ClientTls {
  /** Whom to believe. Undefined: the public CAs that come with the runtime. */
  readonly ca?: string | undefined;
  /** What to show when the server asks. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export function bunServerTls({ cert, key, clientCa }: ServerTls): Bun.TLSOptions {
  if (clientCa === undefined) return { cert, key };
  return { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: true };
}

/** `name`: what the server's certificate must be for; undefined when we were given an address, which Bun then checks. */
export function bunClientTls({ ca, cert, key }: ClientTls, name: string | undefined): Bun.TLSOptions {
  return {
    // Said although it is the default: an environment variable of Node's turns the default around.
    rejectUnauthorized: true,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(name === undefined ? {} : { serverName: name }),
  };
}

// Why a handshake failed, in words for whoever has to mend it. The library's own text stays behind them: it is what one
// searches for.

/** From the library's text to what it usually means, seen from the side that got it. First match wins. */
const MEANINGS: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [
    /WRONG_VERSION_NUMBER|HTTP_REQUEST|UNEXPECTED_RECORD|BAD_PACKET|NOT_SSL/i,
    "the peer does not speak TLS on this port",
  ],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/i, "the client showed no certificate, and one is demanded"],
  [/ALERT_CERTIFICATE_REQUIRED/i, "the server demands a client certificate: set client_tls.cert_file and key_file"],
  [/ALERT_UNKNOWN_CA|ALERT_BAD_CERTIFICATE|ALERT_CERTIFICATE/i, "the peer refuses the certificate it was shown"],
  [/UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION/i, "the peer offers no TLS version from 1.2 up"],
  [/ALTNAME_INVALID/i, "the certificate is for another name or address"],
  [/CERT_HAS_EXPIRED|EXPIRED/i, "the certificate has expired"],
  [/CERT_NOT_YET_VALID/i, "the certificate is not valid yet; are both clocks right?"],
  [/UNABLE_TO|SELF_SIGNED/i, "the certificate is not signed by a CA that is trusted here"],
  [/ECONNRESET/i, "the peer hung up during the handshake; it may not trust our certificate"],
];

/** One line; `error` as Bun's handshake and error handlers have it. */
export function tlsFailure(error: unknown): string {
  const { code, message } = (error ?? {}) as { code?: string; message?: string };
  const said = [code, message].filter(Boolean).join(" ");
  if (said === "") return "the TLS handshake failed without a reason";
  const meaning = MEANINGS.find(([pattern]) => pattern.test(said))?.[1];
  return meaning === undefined ? `the TLS handshake failed (${said})` : `${meaning} (${said})`;
}

/** Whether an error of an open connection comes from TLS (a record that does not decrypt, an alert of the peer). */
export function isTlsError(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return code === "EPROTO" || /SSL routines/.test(message ?? "");
}

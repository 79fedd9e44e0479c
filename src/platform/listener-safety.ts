// Whether what a process listens on is safe where it can be reached. On loopback, only programs of this machine come; off
// it, anybody does, so a listener there must be encrypted and must know its callers. One that is not is refused, not
// warned about: warnings are read after the incident. Whoever knows the network to be trusted says so, once.
//
// Pure: from a configuration to listeners, from listeners to complaints.

export interface Listener {
  /** Its section of the configuration. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** What would encrypt it; undefined: its protocol has no encryption. */
  readonly encryptedBy: string | undefined;
  readonly encrypted: boolean;
  /** What would make it know its callers; undefined: its protocol has no place for that. */
  readonly callersKnownBy: string | undefined;
  readonly callersKnown: boolean;
}

/** What is looked at in the configuration of dns, report and agent alike. */
export interface ListenerSections {
  readonly tcp?: HostPort;
  readonly http: HostPort;
  readonly udp?: HostPort;
  readonly resolver?: HostPort;
  readonly tls: { readonly cert_file: string; readonly client_ca_file: string };
  readonly auth?: { readonly anonymous_read: "auto" | boolean; readonly anonymous_report?: "auto" | boolean };
}

interface HostPort {
  readonly host: string;
  readonly port: number;
}

const LOOPBACK = /^(127(\.\d{1,3}){3}|localhost|::1)$/;

/** Whether only this machine reaches what listens there. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

export function listenersOf(config: ListenerSections): readonly Listener[] {
  const { tcp, http, udp, resolver, tls, auth } = config;
  const listeners: Listener[] = [];
  const encrypted = tls.cert_file !== "";
  const certified = encrypted && tls.client_ca_file !== "";
  const encryptedBy = "tls.cert_file and tls.key_file";
  if (tcp !== undefined) {
    const { host, port } = tcp;
    const callersKnownBy = "tls.client_ca_file";
    listeners.push({ name: "tcp", host, port, encryptedBy, encrypted, callersKnownBy, callersKnown: certified });
  }
  // With tokens they are known unless somebody lets everybody in; without, as at the agent, by certificates.
  const open = (["anonymous_read", "anonymous_report"] as const).filter((name) => auth?.[name] === true);
  listeners.push({
    name: "http",
    host: http.host,
    port: http.port,
    encryptedBy,
    encrypted,
    callersKnownBy:
      auth === undefined ? "tls.client_ca_file" : `${open.map((name) => `auth.${name}`).join(" and ")} = "auto"`,
    callersKnown: auth === undefined ? certified : open.length === 0,
  });
  for (const [name, listener] of Object.entries({ udp, resolver })) {
    if (listener === undefined) continue;
    const { host, port } = listener;
    const none = { encryptedBy: undefined, encrypted: false, callersKnownBy: undefined, callersKnown: false };
    listeners.push({ name, host, port, ...none });
  }
  return listeners;
}

/** One line for each listener that is not safe where it is: what, why, and the three ways out. */
export function insecureListeners(listeners: readonly Listener[]): readonly string[] {
  return listeners.flatMap((listener) => {
    const { name, host, port, encrypted, encryptedBy, callersKnown, callersKnownBy } = listener;
    if (isLoopback(host) || (encrypted && callersKnown)) return [];
    const lacks = [...(encrypted ? [] : ["encryption"]), ...(callersKnown ? [] : ["knowing its callers"])];
    const keys = [...(encrypted ? [] : [encryptedBy]), ...(callersKnown ? [] : [callersKnownBy])];
    const configure = keys.every((key) => key !== undefined)
      ? `, or set ${keys.join(" and ")}`
      : " (nothing can be set for it: its protocol has neither)";
    return [
      `${name} would listen on ${host}:${port}, which others than this machine reach, without ${lacks.join(" and without ")}; ` +
        `bind it to loopback (${name}.host = "127.0.0.1")${configure}, or, where the network is trusted, ` +
        "set security.allow_insecure = true (LARS_ALLOW_INSECURE=true)",
    ];
  });
}

// An endpoint is where a host listens: an IPv4 address and a port. Addresses are signed 32-bit host-order integers, the
// wire's spelling (192.168.0.1 = 0xC0A80001 = -1062731775); dotted strings exist at the edges only.

/** Where a host listens. `ip`: IPv4 as a signed host-order int32. `port`: 1 to 65535. */
export interface Endpoint {
  readonly ip: number;
  readonly port: number;
}

/** One number per endpoint (48 bits), usable as a Map key and as a sort key. */
export function endpointKey(ip: number, port: number): number {
  return (ip >>> 0) * 0x1_0000 + port;
}

export function formatIp(ip: number): string {
  return `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
}

/** "ip:port". */
export function formatEndpoint(endpoint: Endpoint): string {
  return `${formatIp(endpoint.ip)}:${endpoint.port}`;
}

const OCTET = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IP_PATTERN = new RegExp(`^${OCTET}\\.${OCTET}\\.${OCTET}\\.${OCTET}$`);

/** A dotted IPv4 address without leading zeros; undefined when malformed. */
export function parseIp(text: string): number | undefined {
  const match = IP_PATTERN.exec(text);
  if (match === null) return undefined;
  return (Number(match[1]) << 24) | (Number(match[2]) << 16) | (Number(match[3]) << 8) | Number(match[4]);
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}

/** "ip:port" as {@link formatEndpoint} writes it; undefined when malformed. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const colon = text.lastIndexOf(":");
  if (colon < 0 || !/^[1-9]\d{0,4}$/.test(text.slice(colon + 1))) return undefined;
  const ip = parseIp(text.slice(0, colon));
  const port = Number(text.slice(colon + 1));
  return ip === undefined || !isPort(port) ? undefined : { ip, port };
}

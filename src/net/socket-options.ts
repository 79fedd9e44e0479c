// Two socket options that Bun does not offer, set by system call on the socket's descriptor:
// - the receive buffer of a UDP socket. One of the default size holds 256 small datagrams; what a burst brings beyond
//   that is lost in silence;
// - the backlog of a listener. Bun's is 512; when a server comes back and thousands of agents connect at once, those
//   beyond it wait for retransmissions, for seconds.
// This is known to work on Linux only; elsewhere, or when the C library cannot be loaded, sockets stay as they are.
import { dlopen, ptr } from "bun:ffi";

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_MEMINFO = 55;
/** Index of the drop count in what SO_MEMINFO returns: nine uint32. */
const MEMINFO_DROPS = 8;
const MEMINFO_FIELDS = 9;

type Library = ReturnType<typeof load>;

function load() {
  if (process.platform !== "linux") return undefined;
  const signature = { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" } as const;
  const setSignature = { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" } as const;
  const listen = { args: ["i32", "i32"], returns: "i32" } as const;
  for (const name of ["libc.so.6", "libc.so"]) {
    try {
      return dlopen(name, { getsockopt: signature, setsockopt: setSignature, listen }).symbols;
    } catch {
      // The next name; without any, sockets keep their size.
    }
  }
  return undefined;
}

let library: { readonly symbols: Library } | undefined;

function libc(): Library {
  library ??= { symbols: load() };
  return library.symbols;
}

/**
 * Asks for socket buffers of that many bytes. The kernel grants less when net.core.rmem_max / wmem_max says so and the
 * process may not go beyond.
 * @returns the receive buffer as the kernel accounts it (on Linux twice what was granted), 0 when that is not known
 */
export function raiseSocketBuffers(fd: number, receiveBytes: number, sendBytes: number): number {
  const c = libc();
  if (c === undefined || fd < 0) return 0;
  const raise = (force: number, plain: number, bytes: number): void => {
    const value = new Int32Array([bytes]);
    if (c.setsockopt(fd, SOL_SOCKET, force, ptr(value), 4) !== 0) c.setsockopt(fd, SOL_SOCKET, plain, ptr(value), 4);
  };
  const current = readOption(fd, SO_RCVBUF, 1);
  // Never lower what the administrator has set.
  if (current !== undefined && current[0]! < receiveBytes) raise(SO_RCVBUFFORCE, SO_RCVBUF, receiveBytes);
  const currentSend = readOption(fd, SO_SNDBUF, 1);
  if (currentSend !== undefined && currentSend[0]! < sendBytes) raise(SO_SNDBUFFORCE, SO_SNDBUF, sendBytes);
  return readOption(fd, SO_RCVBUF, 1)?.[0] ?? 0;
}

/** Datagrams the kernel has dropped because this socket's receive buffer was full, modulo 2^32; 0 when not known. */
export function socketDrops(fd: number): number {
  return readOption(fd, SO_MEMINFO, MEMINFO_FIELDS)?.[MEMINFO_DROPS] ?? 0;
}

/** Lets that many connections wait to be accepted, or as many as net.core.somaxconn allows. */
export function raiseBacklog(fd: number, connections: number): void {
  if (fd >= 0) libc()?.listen(fd, connections);
}

function readOption(fd: number, option: number, fields: number): Uint32Array | undefined {
  const c = libc();
  if (c === undefined || fd < 0) return undefined;
  const value = new Uint32Array(fields);
  const length = new Uint32Array([fields * 4]);
  return c.getsockopt(fd, SOL_SOCKET, option, ptr(value), ptr(length)) === 0 ? value : undefined;
}

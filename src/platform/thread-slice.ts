// How soon a thread gets the processor once there is work for it. Linux gives a processor out in slices of some
// milliseconds, and a thread that wakes while all processors are taken waits for the end of one. A thread that asks for a
// short slice goes first when it wakes, and may be put off sooner in return (EEVDF, Linux 6.12). It gets no more of the
// processor than before, so it needs no privilege.
//
// The thread this is for answers within microseconds and sleeps: it uses a slice up almost never. With callers, agent and
// the rest on two processors at half load, p99 over UDP went from 1.4 to 0.93 times the floor's (bench/RESULTS.md).
import { dlopen, ptr } from "bun:ffi";

/** The shortest the kernel grants. */
export const SHORT_SLICE_NS = 100_000n;

/** The system call's number; it has no function in older C libraries. */
const SCHED_SETATTR: Readonly<Record<string, number>> = { x64: 314, arm64: 274 };
const SCHED_NORMAL = 0;
/** struct sched_attr: size, policy, flags, nice and priority, runtime (the slice), deadline, period. */
const ATTRIBUTE_BYTES = 48;
const RUNTIME_WORD = 3;

/**
 * Asks for short slices for the thread that calls. Its priority stays.
 * @returns false where that is not possible: another system, processor or scheduling policy; an old kernel may ignore it
 */
export function takeShortSlices(sliceNs: bigint = SHORT_SLICE_NS): boolean {
  const call = SCHED_SETATTR[process.arch];
  if (process.platform !== "linux" || call === undefined) return false;
  try {
    const c = dlopen("libc.so.6", {
      syscall: { args: ["i64", "i64", "ptr", "u64"], returns: "i64" },
      sched_getscheduler: { args: ["i32"], returns: "i32" },
      getpriority: { args: ["i32", "u32"], returns: "i32" },
    }).symbols;
    // Whoever gave the process another policy (chrt) means it.
    if (c.sched_getscheduler(0) !== SCHED_NORMAL) return false;
    const attributes = new BigUint64Array(ATTRIBUTE_BYTES / 8);
    new Uint32Array(attributes.buffer)[0] = ATTRIBUTE_BYTES;
    new Int32Array(attributes.buffer)[4] = c.getpriority(0, 0);
    attributes[RUNTIME_WORD] = sliceNs;
    return Number(c.syscall(call, 0, ptr(attributes), 0)) === 0;
  } catch {
    return false;
  }
}

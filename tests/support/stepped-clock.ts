// A wall clock that can be set while a process runs: libfaketime (Debian's package `faketime`) between the process and
// libc, told by a file by how much it is off. The monotonic clock is left alone, as it is when an operator sets a clock.
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { Glob } from "bun";

function library(): string {
  for (const file of new Glob("*/faketime/libfaketimeMT.so.1").scanSync({ cwd: "/usr/lib", absolute: true }))
    return file;
  const local = "/usr/lib/faketime/libfaketimeMT.so.1";
  if (existsSync(local)) return local;
  throw new Error(
    "setting a process's clock needs libfaketime, which is not installed (Debian: apt-get install faketime)",
  );
}

export class SteppedClock {
  /** For processes that are to have this clock. */
  readonly env: Readonly<Record<string, string>>;

  /** `file`: where the offset is kept. @throws when libfaketime is not installed */
  constructor(private readonly file: string) {
    this.env = {
      LD_PRELOAD: library(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    this.step(0);
  }

  /** From now on it is off by so many seconds. */
  step(seconds: number): void {
    const beside = `${this.file}.new`;
    writeFileSync(beside, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
    renameSync(beside, this.file);
  }
}

// A disk that is soon full: a tmpfs of some kilobytes on a folder, in a mount namespace of its own. Processes that are to
// have it run in there; the test reaches it through /proc. Needs root.
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Holder, holdNamespace } from "./holder.ts";

export class SmallDisk {
  /** Put before a command, it has this disk at `folder`. */
  readonly command: readonly string[];
  /** The folder as processes without this disk reach it. */
  readonly outside: string;

  private constructor(
    readonly folder: string,
    private readonly holder: Holder,
  ) {
    this.command = ["nsenter", `--mount=/proc/${holder.pid}/ns/mnt`];
    this.outside = join(`/proc/${holder.pid}/root`, folder);
  }

  /** @throws when mount namespaces are not permitted here */
  static async mount(folder: string, bytes: number): Promise<SmallDisk> {
    mkdirSync(folder, { recursive: true });
    const script = 'mount --make-rprivate /; mount -t tmpfs -o "size=$2" tmpfs "$1"';
    return new SmallDisk(folder, await holdNamespace(["--mount"], script, folder, String(bytes)));
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.outside);
    return bavail * bsize;
  }

  /** Takes all room but `spare` bytes (whole pages). */
  fill(spare = 0): void {
    this.clear();
    const room = this.freeBytes - spare;
    if (room > 0) writeFileSync(join(this.outside, "ballast"), new Uint8Array(room));
  }

  clear(): void {
    rmSync(join(this.outside, "ballast"), { force: true });
  }

  async unmount(): Promise<void> {
    await this.holder.end();
  }
}

// Machines with cables between them: network namespaces, each joined to one in the middle that passes packets on. A link
// between two machines is cut there silently (packets vanish, nobody is told, as when a switch fails), or a machine's own
// cable is pulled. The test itself is joined to all, and no cut concerns it.
//
// Addresses are of 198.18.0.0/15, which is set aside for tests of networks. Needs root and iproute2.
import { existsSync } from "node:fs";
import { type Holder, holdNamespace, runCommand } from "./holder.ts";

export interface Machine {
  readonly name: string;
  readonly address: string;
  /** Put before a command, it runs there. */
  readonly command: readonly string[];
}

interface Joined extends Machine {
  readonly holder: Holder;
  /** The middle's end of its cable. */
  readonly port: string;
}

let networks = 0;

function inside({ pid }: Holder): string[] {
  return ["nsenter", `--net=/proc/${pid}/ns/net`];
}

export class Network {
  readonly #machines = new Map<string, Joined>();
  readonly #cuts = new Set<string>();
  readonly #tag: string;
  readonly #subnet: string;

  private constructor(private readonly middle: Holder) {
    // Several test processes may run at once: its name must be free, and with it its addresses.
    let number = (process.pid * 7 + networks++) % 250;
    while (existsSync(`/sys/class/net/lf${number}t`)) number = (number + 1) % 250;
    this.#tag = `lf${number}`;
    this.#subnet = `198.18.${number}`;
  }

  /** @throws when namespaces are not permitted here */
  static async open(): Promise<Network> {
    const network = new Network(await holdNamespace(["--net"], "echo 1 > /proc/sys/net/ipv4/ip_forward"));
    try {
      await network.#joinTest();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  async #middle(...command: string[]): Promise<void> {
    await runCommand(...inside(this.middle), ...command);
  }

  async #joinTest(): Promise<void> {
    const [here, there] = [`${this.#tag}t`, `${this.#tag}t1`];
    await runCommand(
      "ip",
      "link",
      "add",
      here,
      "type",
      "veth",
      "peer",
      "name",
      there,
      "netns",
      String(this.middle.pid),
    );
    await runCommand("ip", "addr", "add", `${this.#subnet}.2/30`, "dev", here);
    await runCommand("ip", "link", "set", here, "up");
    await this.#middle("ip", "addr", "add", `${this.#subnet}.1/30`, "dev", there);
    await this.#middle("ip", "link", "set", there, "up");
    await runCommand("ip", "route", "add", `${this.#subnet}.0/24`, "via", `${this.#subnet}.1`);
  }

  async machine(name: string): Promise<Machine> {
    const holder = await holdNamespace(["--net"]);
    const index = this.#machines.size + 1;
    const [gateway, address] = [`${this.#subnet}.${4 * index + 1}`, `${this.#subnet}.${4 * index + 2}`];
    const [cable, port] = [`${this.#tag}m${index}`, `${this.#tag}p${index}`];
    const command = inside(holder);
    await this.#middle("ip", "link", "add", port, "type", "veth", "peer", "name", cable);
    await this.#middle("ip", "link", "set", cable, "netns", String(holder.pid));
    await this.#middle("ip", "addr", "add", `${gateway}/30`, "dev", port);
    await this.#middle("ip", "link", "set", port, "up");
    await runCommand(...command, "ip", "link", "set", "lo", "up");
    await runCommand(...command, "ip", "addr", "add", `${address}/30`, "dev", cable);
    await runCommand(...command, "ip", "link", "set", cable, "up");
    await runCommand(...command, "ip", "route", "add", "default", "via", gateway);
    const machine = { name, address, command, holder, port };
    this.#machines.set(name, machine);
    return machine;
  }

  #port(machine: Machine): string {
    return this.#machines.get(machine.name)!.port;
  }

  /** From now on nothing passes between the two, in either direction, and neither is told. */
  async cut(one: Machine, other: Machine): Promise<void> {
    for (const rule of rules(one, other)) {
      if (this.#cuts.has(rule)) continue;
      await this.#middle("ip", "rule", "add", ...rule.split(" "), "blackhole");
      this.#cuts.add(rule);
    }
  }

  async heal(one: Machine, other: Machine): Promise<void> {
    for (const rule of rules(one, other)) {
      if (this.#cuts.delete(rule)) await this.#middle("ip", "rule", "del", ...rule.split(" "), "blackhole");
    }
  }

  /** Pulls a machine's cable: it sees that its link is down. What is on the machine still reaches itself. */
  async unplug(machine: Machine): Promise<void> {
    await this.#middle("ip", "link", "set", this.#port(machine), "down");
  }

  async plugIn(machine: Machine): Promise<void> {
    await this.#middle("ip", "link", "set", this.#port(machine), "up");
  }

  /** Ends all; what still runs on the machines keeps them until it ends too. */
  async close(): Promise<void> {
    await runCommand("ip", "link", "del", `${this.#tag}t`).catch(() => {});
    for (const { holder } of this.#machines.values()) await holder.end();
    await this.middle.end();
  }
}

function rules(one: Machine, other: Machine): string[] {
  return [`from ${one.address} to ${other.address}`, `from ${other.address} to ${one.address}`];
}

// Policy `random`: each host in proportion to its weight, every pick on its own.
import { heldBack, type Picker } from "./picker.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";
import { WeightedSampler } from "./weighted-sampler.ts";

export class RandomPicker implements Picker {
  #hosts: readonly SteeredHost[] = [];
  readonly #sampler = new WeightedSampler();

  rebuild(hosts: readonly SteeredHost[]): void {
    this.#hosts = hosts;
    this.#sampler.build(hosts.length, (i) => hosts[i]!.weight);
  }

  pick(context: PickContext): SteeredHost {
    const host = this.#hosts[this.#sampler.draw(context.random)]!;
    return heldBack(host, context) ? this.#hosts[this.#sampler.draw(context.random)]! : host;
  }
}

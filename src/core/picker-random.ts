// Policy `random`: each host in proportion to its weight, every pick on its own.
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";
import { WeightedSampler } from "./weighted-sampler.ts";

export class RandomPicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  readonly #sampler = new WeightedSampler();

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    this.#sampler.build(hosts.length, (i) => hosts.weightAt(i));
  }

  pick(context: PickContext): SteeredHost {
    const host = this.#hosts.at(this.#sampler.draw(context.random));
    return heldBack(host, context) ? this.#hosts.at(this.#sampler.draw(context.random)) : host;
  }
}

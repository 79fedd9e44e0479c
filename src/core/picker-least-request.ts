// Policy `least_request`: two hosts drawn in proportion to weight, and of these the one with less in flight for its
// weight. Two random choices do nearly as well as looking at all of them (M. Mitzenmacher, "The Power of Two Choices in
// Randomized Load Balancing", 2001), and unlike that do not send everybody to the same momentary best.
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";
import { WeightedSampler } from "./weighted-sampler.ts";

export class LeastRequestPicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  readonly #sampler = new WeightedSampler();

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    this.#sampler.build(hosts.length, (i) => hosts.weightAt(i));
  }

  pick(context: PickContext): SteeredHost {
    const first = this.#hosts.at(this.#sampler.draw(context.random));
    const second = this.#hosts.at(this.#sampler.draw(context.random));
    if (heldBack(first, context)) return second;
    first.settle(context);
    second.settle(context);
    // Equal load keeps the first draw, so that an idle module's shares are its weights.
    return second.inFlight * first.weight < first.inFlight * second.weight && !heldBack(second, context)
      ? second
      : first;
  }
}

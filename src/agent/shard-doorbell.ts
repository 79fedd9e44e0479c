// How a thread that blocks on its socket hears of messages. Whoever posts one says so in shared memory and, if the thread
// is asleep, rings it out of its wait; the thread lies down only when nothing was posted since it last looked.
//
// The order matters and is the whole of it: the poster counts and then looks whether the thread sleeps, the thread says
// that it sleeps and then looks at the count. Whichever comes first, one of the two sees the other. What was posted is
// not counted off against what was heard: a message to a port that was closed is never heard, and a thread that waited
// for it would never sleep again. Instead the event loop gets a few turns after every post.

/** 0: awake; 1: asleep; RUNG: asleep, and the bell has gone. */
const ASLEEP = 0;
const POSTED = 1;
const RUNG = 2;
/** Of the event loop after a post was seen. One is enough: none of 6,000 messages to a thread that slept was missed. */
const TURNS = 1;

export type DoorbellState = Int32Array<SharedArrayBuffer>;

export function makeDoorbellState(): DoorbellState {
  return new Int32Array(new SharedArrayBuffer(8));
}

/** To be called after every message posted to the thread. `ring` ends its wait. */
export function announce(state: DoorbellState, ring: () => void): void {
  Atomics.add(state, POSTED, 1);
  // Once a sleep: between the ring and the waking others may post.
  if (Atomics.compareExchange(state, ASLEEP, 1, RUNG) === 1) ring();
}

/** The thread's side. */
export class Sleeper {
  readonly #state: DoorbellState;
  #seen = 0;
  #turns = TURNS;

  constructor(state: DoorbellState) {
    this.#state = state;
  }

  /** False: the event loop is to have a turn first. When true, the thread may wait, and `awake` must follow. */
  lieDown(): boolean {
    Atomics.store(this.#state, ASLEEP, 1);
    const posted = Atomics.load(this.#state, POSTED);
    if (posted !== this.#seen) {
      this.#seen = posted;
      this.#turns = TURNS;
    }
    if (this.#turns === 0) return true;
    this.#turns--;
    this.awake();
    return false;
  }

  awake(): void {
    Atomics.store(this.#state, ASLEEP, 0);
  }
}

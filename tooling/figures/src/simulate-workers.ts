/** A piece of work: bytes to read, seconds to compute, bytes to write, in this order. */
export interface SimulatedJob {
  readonly read: number;
  readonly seconds: number;
  readonly write: number;
}

export interface SimulatedSite {
  readonly workers: number;
  /** Bytes per second of each worker's link. */
  readonly link: number;
  /**
   * Bytes per second of the store, for all workers together; Infinity for a store whose speed grows with its clients.
   */
  readonly store: number;
}

export interface SimulatedRun {
  readonly seconds: number;
  /** Sums over the workers, in seconds: reading and writing, computing, and waiting for a job at the end. */
  readonly moving: number;
  readonly computing: number;
  readonly idle: number;
}

interface Hand {
  job: SimulatedJob;
  phase: 'read' | 'compute' | 'write';
  /** Remaining bytes or seconds of the phase. */
  left: number;
}

/** A phase with less than this remaining is over: rates and times are floating point. */
const over = 1e-9;

/**
 * Simulates workers that take jobs in order, one at a time each. Bytes flow at the rate of the worker's link, or of an
 * equal share of the store if that is less. Other workers do not slow down a computation.
 */
export function simulateWorkers(jobs: readonly SimulatedJob[], { workers, link, store }: SimulatedSite): SimulatedRun {
  let next = 0;
  let [seconds, moving, computing] = [0, 0, 0];
  const take = (): Hand | undefined => {
    const job = jobs[next++];
    return job && { job, phase: 'read', left: job.read };
  };
  let hands = Array.from({ length: workers }, take).filter((hand) => hand !== undefined);
  while (hands.length > 0) {
    const movers = hands.reduce((count, { phase }) => count + (phase === 'compute' ? 0 : 1), 0);
    const rate = Math.min(link, store / Math.max(1, movers));
    let step = Number.POSITIVE_INFINITY;
    for (const { phase, left } of hands) step = Math.min(step, phase === 'compute' ? left : left / rate);
    seconds += step;
    moving += step * movers;
    computing += step * (hands.length - movers);
    for (const hand of hands) {
      const speed = hand.phase === 'compute' ? 1 : rate;
      hand.left -= step * speed;
      if (hand.left > over * speed) continue;
      if (hand.phase === 'read') Object.assign(hand, { phase: 'compute', left: hand.job.seconds });
      else if (hand.phase === 'compute') Object.assign(hand, { phase: 'write', left: hand.job.write });
      else Object.assign(hand, take() ?? { left: -1 });
    }
    if (next > jobs.length) hands = hands.filter(({ left }) => left >= 0);
  }
  return { seconds, moving, computing, idle: seconds * workers - moving - computing };
}

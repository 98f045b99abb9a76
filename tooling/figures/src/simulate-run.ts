import { type LargeModel, type ShapedLinear, weightsOf } from './distributed-shapes.js';
import { type SimulatedJob, simulateWorkers } from './simulate-workers.js';

/** Costs of the parts of a run on one thread, as `measureCosts` measures them. */
export interface PartCosts {
  /** Seconds per GFLOP of products of a forward pass. */
  readonly forward: number;
  /** Seconds per GFLOP of Gram matrices. */
  readonly gram: number;
  /** Seconds per GFLOP of Cholesky factors in f64. */
  readonly factor: number;
  /** Seconds per million weights of GPTQ's ranges, rounding and report, without its products. */
  readonly sweep: number;
  /** Seconds per million weights that are rounded and packed without data. */
  readonly round: number;
  /** Seconds per byte of SHA-256. */
  readonly hash: number;
}

export interface Site {
  readonly workers: number;
  /** Threads of a worker. The speed of all parts is assumed to be proportional to them. */
  readonly cores: number;
  /** Speed of each machine's link, and of the file server's. */
  readonly gigabits: number;
  /**
   * `folder`: one file server, whose link all machines share. `bucket`: a store that serves all machines at full speed.
   */
  readonly store: 'folder' | 'bucket';
}

export interface RunStage {
  readonly name: string;
  readonly seconds: number;
}

export interface SimulatedTotal {
  readonly stages: readonly RunStage[];
  readonly total: number;
  /** Bytes over links, in both directions, of all machines together. */
  readonly bytes: number;
  /** The part that is busy for most of the time. */
  readonly bottleneck: string;
}

/** Bytes of a weight in the source: bf16. */
const sourceBytes = 2;
/** Bytes of a weight in the result: 4 bits, and 16 + 4 bits of scale and zero point for a group of 128. */
const resultBytes = (4 + 20 / 128) / 8;

const bytesPerSecond = (gigabits: number) => (gigabits * 1e9) / 8;

function siteOf({ workers, gigabits, store }: Site) {
  const link = bytesPerSecond(gigabits);
  return { workers, link, store: store === 'folder' ? link : Number.POSITIVE_INFINITY };
}

/**
 * A data-free run: the coordinator fills the store, workers round linears, and the coordinator writes the published
 * results.
 */
export function simulateRun(model: LargeModel, costs: PartCosts, site: Site): SimulatedTotal {
  const { link } = siteOf(site);
  const weights = weightsOf(model);
  const jobs = model.parts.flatMap(({ blocks, linears }) =>
    Array.from({ length: blocks }, () =>
      linears.flatMap((linear) =>
        Array.from({ length: linear.count }, (): SimulatedJob => {
          const size = linear.outFeatures * linear.inFeatures;
          const hashed = costs.hash * size * (sourceBytes + resultBytes);
          const seconds = ((size / 1e6) * costs.round) / site.cores + hashed;
          return { read: size * sourceBytes, seconds, write: size * resultBytes };
        }),
      ),
    ).flat(),
  );
  const all = (weights + model.copied) * sourceBytes;
  // Four tensors at a time are read, hashed and sent. The slower of link and hash decides.
  const filling = Math.max(all / link, (all * costs.hash) / Math.min(4, site.cores));
  const computed = simulateWorkers(jobs, siteOf(site));
  // Results are fetched while later ones are computed. The remaining time is that for which the coordinator's link is
  // too slow.
  const fetching = (weights * resultBytes) / link;
  const writing = Math.max(0, fetching - computed.seconds);
  const stages = [
    { name: 'filling the store', seconds: filling },
    { name: 'computing', seconds: computed.computing / site.workers },
    { name: 'reading and writing', seconds: computed.moving / site.workers },
    { name: 'waiting', seconds: computed.idle / site.workers },
    { name: 'writing the folder', seconds: writing },
  ];
  return summary(stages, all + weights * (sourceBytes + 2 * resultBytes));
}

/** Calibration of a run: windows, tokens of each, and the number of sample shards. */
export interface Calibration {
  readonly samples: number;
  readonly length: number;
  readonly shards: number;
}

/** Bytes of a value of a Gram matrix in the store: f64, both halves. */
const sumBytes = 8;
/** Bytes of a value of a hidden state, and of a weight that the coordinator publishes for its solver: f32. */
const valueBytes = 4;

/**
 * GPTQ without a comparison with the unquantized model, whose windows workers compute (`--window-shards`), stage after
 * stage. A job collects the sums of a shard. The coordinator reads the sums of all shards, adds them, and publishes the
 * total and the weights of each input. No job prefers a worker. A worker that did not have the shard at the stage before
 * reads its states before the block, and goes through the earlier stages of the block again.
 */
export function simulateCalibrated(
  model: LargeModel,
  costs: PartCosts,
  site: Site,
  { samples, length, shards }: Calibration,
): SimulatedTotal {
  const tokens = samples * length;
  const place = siteOf(site);
  const busy = Math.min(site.workers, shards);
  const missed = 1 - 1 / site.workers;
  let [forward, moving, adding, solving, bytes] = [0, 0, 0, 0, 0];
  for (const { blocks, linears } of model.parts) {
    const stateBytes = valueBytes * tokens * linears[0].inFeatures;
    let earlier = 0;
    for (const stage of new Set(linears.map((linear) => linear.stage))) {
      const own = linears.filter((linear) => linear.stage === stage);
      const inputs = inputsOf(own);
      const flops = own.reduce((sum, each) => sum + 2 * tokens * each.share * each.count * sizeOf(each), 0);
      const grams = inputs.reduce((sum, each) => sum + tokens * each.share * each.matrices * each.width ** 2, 0);
      const matrixBytes = inputs.reduce((sum, each) => sum + each.matrices * sumBytes * each.width ** 2, 0);
      const weights = own.reduce((sum, each) => sum + each.count * sizeOf(each), 0);
      const products = flops + missed * earlier;
      const job = {
        // Each worker loads the weights of the stage once.
        read: (weights * sourceBytes * busy + missed * stateBytes) / shards,
        seconds: (products * costs.forward + grams * costs.gram) / 1e9 / shards / site.cores,
        write: matrixBytes + (earlier === 0 ? stateBytes / shards : 0),
      };
      earlier += flops;
      const shard = simulateWorkers(
        Array.from({ length: shards }, () => job),
        place,
      );
      const solves = simulateWorkers(
        own.flatMap((each) => {
          const solve = {
            read: sumBytes * each.inFeatures ** 2 + valueBytes * sizeOf(each),
            seconds: solveSeconds(each, costs) / site.cores,
            write: sizeOf(each) * resultBytes,
          };
          return Array.from({ length: each.count }, () => solve);
        }),
        place,
      );
      const computing = shard.computing / busy;
      const coordinator = (shards + 1) * matrixBytes + valueBytes * weights;
      forward += blocks * computing;
      moving += blocks * (shard.seconds - computing);
      adding += (blocks * coordinator) / place.link;
      solving += blocks * solves.seconds;
      const solved = own.reduce((sum, each) => {
        return sum + each.count * (sumBytes * each.inFeatures ** 2 + (valueBytes + resultBytes) * sizeOf(each));
      }, 0);
      bytes += blocks * (shards * (job.read + job.write) + coordinator + solved);
    }
  }
  const all = (weightsOf(model) + model.copied) * sourceBytes;
  const stages = [
    { name: 'filling the store', seconds: all / place.link },
    { name: 'forward passes and sums', seconds: forward },
    { name: 'publishing the sums', seconds: moving },
    { name: 'adding the sums', seconds: adding },
    { name: 'solving', seconds: solving },
  ];
  return summary(stages, all + bytes);
}

const sizeOf = ({ outFeatures, inFeatures }: ShapedLinear) => outFeatures * inFeatures;

/**
 * Seconds on one thread: the factor of the Hessian, the products of the sweep over its columns, and the costs of each
 * weight.
 */
const solveSeconds = ({ outFeatures, inFeatures }: ShapedLinear, { factor, forward, sweep }: PartCosts): number =>
  (factor * inFeatures ** 3) / 3e9 +
  (forward * outFeatures * inFeatures ** 2) / 1e9 +
  (sweep * outFeatures * inFeatures) / 1e6;

/** Distinct inputs of a stage. Each expert has its own. */
function inputsOf(linears: readonly ShapedLinear[]) {
  const found = new Map<string, { width: number; share: number; matrices: number }>();
  for (const { input, inFeatures, share, count, outFeatures } of linears) {
    // Gate and up of an expert read the same input.
    const experts = share < 1 ? (outFeatures < inFeatures ? count / 2 : count) : 1;
    found.set(input, { width: inFeatures, share, matrices: experts });
  }
  return [...found.values()];
}

function summary(stages: readonly RunStage[], bytes: number): SimulatedTotal {
  const longest = stages.reduce((most, stage) => (stage.seconds > most.seconds ? stage : most));
  return { stages, total: stages.reduce((sum, { seconds }) => sum + seconds, 0), bytes, bottleneck: longest.name };
}

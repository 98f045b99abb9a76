import type { BlockWalk, StagePart } from '@q/blockwise';
import type { Collector } from '@q/calib';
import type { Context, Profile, Stage, Statistic } from '@q/core';
import { yieldToEventLoop } from '@q/core';
import { commonTokens } from './stage-inputs.js';

/** The unquantized model at the same stage, for statistics that compare with it. */
interface ReferenceWalk<T> {
  readonly walk: BlockWalk<T>;
  readonly stage: Stage;
  /**
   * Factors that bring the unquantized model's inputs to the scale of the quantized model's, if transforms have scaled
   * the channels.
   */
  readonly inputScales?: Float32Array;
  /** The linear whose outputs statistics need, see {@link comparedOutput}. */
  readonly output?: string;
  /**
   * True if some shard has batches that do not go through the unquantized model. Then the paired tokens are settled in
   * each shard, because the sums of all shards are added.
   */
  readonly partly?: boolean;
}

/**
 * The linear of a stage whose outputs in the unquantized model are needed by statistics: a single linear that adds to
 * the residual stream.
 */
export function comparedOutput(
  { addsToResidual, linears }: Stage,
  statistics: Iterable<Statistic<any>>,
): string | undefined {
  if (!addsToResidual || linears.length !== 1) return undefined;
  return [...statistics].some(({ outputs }) => outputs) ? linears[0] : undefined;
}

/** The input of a stage that is collected, and how its tokens count. */
interface CollectOptions<T> {
  /** The unquantized model, for statistics that compare with it. */
  readonly original?: ReferenceWalk<T>;
  /** Name of the input, for a stage with several. Default: `input`. */
  readonly part?: string;
  /** Weights of all calibration tokens in the sums. Default: all tokens weigh the same. */
  readonly tokenWeights?: Float32Array;
}

/**
 * Collects statistics for linears of a stage that read the same input: one pass serves all of them. If a router chose
 * the tokens of the input, only tokens that both models send there count. Each shard of the windows has statistics of
 * its own, which are merged in the order of the shards.
 * @param create makes an empty collector for a shard
 */
export async function collect<T>(
  create: () => Collector,
  walk: BlockWalk<T>,
  context: Context,
  options: CollectOptions<T> = {},
): Promise<Collector> {
  let all: Collector | undefined;
  for (const shard of walk.shards) {
    const own = create();
    await collectShard(own, walk, context, { ...options, shard });
    if (all) all.merge(own);
    else all = own;
  }
  return all as Collector;
}

interface ShardOptions<T> extends CollectOptions<T> {
  readonly shard: BlockWalk<T>['shards'][number];
}

async function collectShard<T>(
  collector: Collector,
  walk: BlockWalk<T>,
  context: Context,
  { original, part = 'input', tokenWeights, shard: { from, to } }: ShardOptions<T>,
): Promise<void> {
  const gathered = walk.gatherGrams(context.kernels);
  const { kernels } = gathered;
  try {
    const all = Array.from({ length: to - from }, (_, index) => from + index);
    const [first, rest] = original
      ? [all.filter((batch) => original.walk.has(batch)), all.filter((batch) => !original.walk.has(batch))]
      : [all, []];
    for (const batch of [...first, ...rest]) {
      if (batch === rest[0]) {
        // Removes from the sums the part that the statistics share over the tokens so far.
        await context.profile.stage('settle statistics', () => gathered.settle());
        collector.endPaired();
      }
      await yieldToEventLoop(context.signal);
      const here = walk.part(batch, part);
      const paired = original?.walk.has(batch) ? original : undefined;
      const there = paired?.walk.part(batch, part);
      if (!here || (paired && !there)) continue;
      const { own, other } = there ? commonTokens(here, there) : { own: here, other: undefined };
      if (own.tokens === 0) continue;
      const reference = other && scaled(other.x, paired?.inputScales);
      const { profile } = context;
      const compared = paired?.stage.addsToResidual ? await compareStreams(batch, walk, paired, profile) : undefined;
      const seen = {
        ...own,
        ...(reference ? { reference } : {}),
        ...compared?.batch,
        ...(original && !paired ? { unpaired: true } : {}),
      };
      await collector.update(
        tokenWeights ? weighTokens(seen, tokenWeights, walk.windowBatches[batch].start) : seen,
        kernels,
        profile,
      );
      compared?.release?.();
    }
    await context.profile.stage('settle statistics', () => gathered.settle());
    if (original?.partly && rest.length === 0) collector.endPaired();
  } finally {
    gathered.release();
  }
}

/** Gives statistics the residual stream to which a stage adds. */
async function compareStreams<T>(
  batch: number,
  walk: BlockWalk<T>,
  { walk: other, stage, output }: ReferenceWalk<T>,
  profile: Profile,
): Promise<{ batch: Pick<StatisticInput, 'residual' | 'residualError' | 'wanted'>; release?(): void }> {
  const [own, residual] = [walk.residual(batch), other.residual(batch)];
  if (!output) return { batch: { residual, residualError: subtract(residual, own) } };
  const { output: wanted, release } = await profile.stage('forward', () => other.advance(batch, stage, output));
  for (let i = 0; i < wanted.length; i++) wanted[i] += residual[i] - own[i];
  return { batch: { residual: own, wanted }, release };
}

/**
 * Multiplies every row with the square root of its token's weight, so sums of products weight the tokens.
 * @param weights of all calibration tokens
 * @param first number of the batch's first token
 */
function weighTokens(seen: StatisticInput, weights: Float32Array, first: number): StatisticInput {
  const { tokens, tokenOf } = seen;
  const roots = Float32Array.from({ length: tokens }, (_, row) => Math.sqrt(weights[first + (tokenOf?.[row] ?? row)]));
  const weigh = (x: Float32Array) => {
    const width = x.length / tokens;
    const out = new Float32Array(x.length);
    for (let row = 0, i = 0; row < tokens; row++) for (const end = i + width; i < end; i++) out[i] = x[i] * roots[row];
    return out;
  };
  return {
    ...{ ...seen, x: weigh(seen.x) },
    ...(seen.reference ? { reference: weigh(seen.reference) } : {}),
    ...(seen.residualError ? { residualError: weigh(seen.residualError) } : {}),
    ...(seen.residual ? { residual: weigh(seen.residual) } : {}),
    ...(seen.wanted ? { wanted: weigh(seen.wanted) } : {}),
  };
}

interface StatisticInput extends StagePart {
  readonly reference?: Float32Array;
  readonly residualError?: Float32Array;
  readonly residual?: Float32Array;
  readonly wanted?: Float32Array;
}

function subtract(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i] - b[i];
  return out;
}

function scaled(x: Float32Array, scales: Float32Array | undefined): Float32Array {
  if (!scales) return x;
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += scales.length)
    for (let j = 0; j < scales.length; j++) out[start + j] = x[start + j] * scales[j];
  return out;
}

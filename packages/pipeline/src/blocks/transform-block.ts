import type { BlockWalk } from '@q/blockwise';
import { type Collector, createCollector } from '@q/calib';
import {
  allFinite,
  type BlockDescription,
  type BlockWeights,
  CalibrationError,
  type Context,
  type LinearDescription,
  NumericError,
  type ScalableEdge,
  SchemeError,
  type Stage,
  type Tensor,
  type Transform,
  type TransformResult,
} from '@q/core';
import type { Plan } from '../plan/plan.js';
import { transformsOf } from '../recipe/recipe.js';
import type { TransformRow } from '../report/report.js';
import { BlockProbe } from './block-probe.js';
import { collect } from './collect.js';

/** A block whose weights were changed by transforms. The maps are empty without transforms. */
export interface TransformedBlock {
  /** Changed tensors; the block computes the same function. */
  readonly weights: BlockWeights;
  /** Weights that quantizers get instead of the changed ones. */
  readonly clipped: BlockWeights;
  /** Factors by which the inputs of linears were multiplied, by module. */
  readonly inputScales: ReadonlyMap<string, Float32Array>;
  readonly rows: readonly TransformRow[];
}

/** A block whose weights are loaded in a walk. */
export interface LoadedBlock<T> {
  readonly plan: Plan;
  readonly block: BlockDescription;
  /** All tensors of the block that the walk has. */
  readonly loaded: BlockWeights;
  readonly walk: BlockWalk<T>;
  readonly context: Context;
  /**
   * Collects the statistics of a transform in other processes, on the windows that the walk does not have.
   * @param transform its index among the recipe's transforms
   * @param changed the tensors that transforms before it have changed
   * @returns a collector for each of {@link transformInputs}
   */
  readonly collectElsewhere?: (transform: number, changed: BlockWeights) => Promise<readonly Collector[]>;
}

/**
 * Applies the recipe's transforms to a block, one after the other. Each transform gets statistics of the block after
 * the transforms before it. The walk stays at the block's input, and gets the changed weights.
 * @throws CalibrationError, NumericError or SchemeError naming the transform and the tensor
 */
export async function transformBlock<T>(run: LoadedBlock<T>): Promise<TransformedBlock> {
  const { plan, block, loaded, walk, context, collectElsewhere } = run;
  const weights: BlockWeights = new Map();
  const clipped: BlockWeights = new Map();
  const inputScales = new Map<string, Float32Array>();
  const rows: TransformRow[] = [];
  const all: BlockWeights = new Map(loaded);
  for (const [index, transform] of transformsOf(plan.recipe).entries()) {
    if (transform.edges(block.edges).length === 0) continue;
    const elsewhere = collectElsewhere && (() => collectElsewhere(index, weights));
    const result = await applyTransform({ transform, plan, block, weights: all, elsewhere }, walk, context);
    for (const [name, tensor] of result.weights) {
      if (!plan.changed.get(name)?.scaled)
        throw new SchemeError(
          `${transform.name} changed ${name}, which is on none of the edges that it named in the plan`,
        );
      checkChanged(transform, name, tensor, all.get(name));
      all.set(name, tensor);
      weights.set(name, tensor);
      clipped.delete(name);
      walk.setWeight(name, tensor);
    }
    for (const [name, tensor] of result.clipped ?? []) {
      checkChanged(transform, name, tensor, all.get(name));
      clipped.set(name, tensor);
    }
    for (const [module, scales] of result.inputScales) {
      const earlier = inputScales.get(module);
      inputScales.set(module, earlier ? scales.map((scale, j) => scale * earlier[j]) : scales);
    }
    for (const note of result.notes) context.logger.warn(`${block.prefix}: ${transform.name}: ${note}`);
    rows.push({ block: block.prefix, transform: transform.name, figures: result.figures, notes: result.notes });
  }
  return { weights, clipped, inputScales, rows };
}

/** One transform of one block. */
interface TransformWork {
  readonly transform: Transform;
  readonly plan: Plan;
  readonly block: BlockDescription;
  /** All tensors of the block, after the transforms before this one. */
  readonly weights: BlockWeights;
  readonly elsewhere: (() => Promise<readonly Collector[]>) | undefined;
}

/** Runs the block once to collect the statistics, then applies one transform. */
async function applyTransform<T>(work: TransformWork, walk: BlockWalk<T>, context: Context): Promise<TransformResult> {
  const { block } = work;
  const ahead = walk.fork();
  const probe = new BlockProbe(block, walk);
  try {
    return await transformOnce(work, { ahead, probe }, context);
  } finally {
    probe.dispose();
    ahead.dispose();
  }
}

interface OpenWalks<T> {
  /** Walks through the block; the walk itself stays before it. */
  readonly ahead: BlockWalk<T>;
  readonly probe: BlockProbe<T>;
}

async function transformOnce<T>(
  { transform, plan, block, weights, elsewhere }: TransformWork,
  { ahead, probe }: OpenWalks<T>,
  context: Context,
): Promise<TransformResult> {
  const edges = transform.edges(block.edges);
  const inputs = transformInputs(transform, block);
  const found = elsewhere && inputs.length > 0 ? await elsewhere() : [];
  probe.record(ahead);
  const own = await collectThrough(transform, block, { walk: ahead, context, record: probe, leave: found.length > 0 });
  const all = found.length > 0 ? found : own;
  const collectors = new Map(inputs.flatMap(({ modules }, i) => modules.map((module) => [module, all[i]] as const)));
  // An expert that no token reached has no statistics, so its edge is not changed.
  const lost = edges.filter(({ consumers }) => consumers.some((module) => collectors.get(module)?.tokens === 0));
  const result = await transform.apply(
    {
      edges: edges.filter((edge) => !lost.includes(edge)),
      weights,
      statistics(module) {
        const found = collectors.get(module);
        if (!found)
          throw new CalibrationError(
            `${module}: ${transform.name} asked for no statistics, or it is no linear of the block`,
          );
        return found.statistics;
      },
      scheme: (module) => plan.modules.get(module)?.scheme,
      roles: (module) => block.linears.find((linear) => linear.module === module)?.roles ?? [],
      evaluate: (changed, modules) => probe.evaluate(changed, modules),
    },
    context,
  );
  return {
    ...result,
    notes: [...result.notes, ...lost.map(({ id }) => `${id}: no calibration token reached it, it was left as it is`)],
  };
}

/** A walk that goes through a whole block, and the way in which it is observed. */
interface BlockPassage<T> {
  readonly walk: BlockWalk<T>;
  readonly context: Context;
  /** Is told the states before each stage. */
  readonly record?: BlockProbe<T>;
  /** True: the statistics are known already. */
  readonly leave?: boolean;
}

/**
 * Sends the states of a walk, which are before a block, through its stages. Collects the statistics of a transform: one
 * collector for each of {@link transformInputs}.
 */
export async function collectThrough<T>(
  transform: Transform,
  block: BlockDescription,
  { walk, context, record, leave }: BlockPassage<T>,
): Promise<readonly Collector[]> {
  const inputs = leave ? [] : transformInputs(transform, block);
  const collectors: Collector[] = [];
  await walk.begin(block);
  for (const [index, stage] of block.stages.entries()) {
    record?.record(walk);
    for (const { part, modules, inFeatures, stage: own } of inputs)
      if (own === index)
        collectors.push(
          await collect(() => createCollector(transform.needs, inFeatures, modules[0]), walk, context, { part }),
        );
    // No statistic reads the output of the last stage.
    if (index < block.stages.length - 1) await walk.run(stage);
  }
  return collectors;
}

/** An input of a block whose statistics a transform needs. */
export interface TransformInput {
  /** Index of its stage. */
  readonly stage: number;
  readonly part: string;
  readonly modules: readonly string[];
  readonly inFeatures: number;
}

/** The inputs whose statistics a transform needs, in the order of the stages. */
export function transformInputs(transform: Transform, block: BlockDescription): readonly TransformInput[] {
  const edges = transform.needs.length > 0 ? transform.edges(block.edges) : [];
  if (edges.length === 0) return [];
  return block.stages.flatMap((stage, index) =>
    judgedInputs(stage, edges).map(({ part, modules }) => {
      const { inFeatures } = block.linears.find(({ module }) => module === modules[0]) as LinearDescription;
      return { stage: index, part, modules, inFeatures };
    }),
  );
}

/**
 * The inputs on which linears of a stage are judged. After a norm these are all tokens, even if a router distributes
 * them. A router is in no stage; it is judged together with the linears that read the same inputs.
 */
function judgedInputs(
  stage: Stage,
  edges: readonly ScalableEdge[],
): readonly { readonly part: string; readonly modules: readonly string[] }[] {
  const norms = edges.filter(
    ({ producer, consumers }) => producer.kind === 'norm' && stage.linears.includes(consumers[0]),
  );
  const shared = norms.flatMap(({ consumers }) => consumers);
  const parts = new Map<string, string[]>();
  for (const module of new Set([...stage.linears, ...shared])) {
    const part = shared.includes(module) ? 'input' : (stage.inputs?.get(module) ?? 'input');
    parts.set(part, [...(parts.get(part) ?? []), module]);
  }
  return [...parts].map(([part, modules]) => ({ part, modules }));
}

function checkChanged(
  { name }: Transform,
  tensor: string,
  { shape, data }: Tensor<'f32'>,
  before: Tensor<'f32'> | undefined,
): void {
  if (`${shape}` !== `${before?.shape}`)
    throw new SchemeError(`${name} changed the shape of ${tensor} from [${before?.shape}] to [${shape}]`);
  if (allFinite(data)) return;
  const bad = data.findIndex((value) => !Number.isFinite(value));
  throw new NumericError(
    `${tensor}: ${name} gave ${data[bad]} at element ${bad}: its scales leave the range of f32, leave this module out or use another method`,
  );
}

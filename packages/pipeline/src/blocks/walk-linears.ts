import { BlockWalk, embedWindows, type Walks, walkBlocks } from '@q/blockwise';
import { type Collector, createCollector, type Windows } from '@q/calib';
import type { BlockDescription, Context, ForwardEngine, ModelDescription, Statistic, Tensor } from '@q/core';
import { yieldToEventLoop } from '@q/core';
import { collect, comparedOutput } from './collect.js';

/** A linear whose inputs have been collected. */
export interface VisitedLinear {
  readonly module: string;
  readonly weight: Tensor<'f32'>;
  readonly statistics: Collector['statistics'];
  /** Number of tokens from which its inputs were collected. */
  readonly tokens: number;
}

export interface LinearWalk<T> {
  readonly model: ModelDescription;
  /** Reads a tensor by its name, linears `[out, in]`. */
  weight(name: string): Promise<Tensor<'f32'>>;
  readonly engine: ForwardEngine<T>;
  readonly windows: Windows;
  /** Windows at a time. */
  readonly batch: number;
  readonly context: Context;
  readonly needs: readonly Statistic<any>[];
  /**
   * The result of `visit` for a linear in an earlier run. If all linears that read the same inputs have one, these
   * inputs are not collected.
   */
  finished?(module: string): Promise<Tensor<'f32'> | undefined>;
  /** Called for every linear of the blocks, in order. Its result replaces the weight for the rest of the walk. */
  visit(linear: VisitedLinear): Promise<Tensor<'f32'> | undefined>;
}

/**
 * Runs a model block by block, stage by stage, and collects the inputs of its linears. If a statistic compares with the
 * unquantized model, that model runs too.
 */
export async function walkLinears<T>(pass: LinearWalk<T>): Promise<void> {
  const { model, engine, windows, batch, context, needs, visit } = pass;
  const open = () => new BlockWalk({ model, engine, windows, batch, signal: context.signal });
  const walk = open();
  const original = needs.some((statistic) => statistic.paired) ? open() : undefined;
  const walks: Walks<T> = original ? [original, walk] : [walk];
  const read = (name: string) => pass.weight(name);
  const lastStage = model.blocks.at(-1)?.stages.at(-1);
  const visitBlock = async (block: BlockDescription): Promise<void> => {
    for (const each of walks) await each.begin(block);
    for (const stage of block.stages) {
      const output = comparedOutput(stage, needs);
      const parts = new Map<string, string[]>();
      for (const module of stage.linears) {
        const part = stage.inputs?.get(module) ?? 'input';
        parts.set(part, [...(parts.get(part) ?? []), module]);
      }
      for (const [part, modules] of parts) {
        const done = await Promise.all(modules.map((module) => pass.finished?.(module)));
        if (done.every((weight) => weight !== undefined)) {
          for (const [index, module] of modules.entries())
            walk.setWeight(`${module}.weight`, done[index] as Tensor<'f32'>);
          continue;
        }
        const weights = await Promise.all(modules.map((module) => pass.weight(`${module}.weight`)));
        const create = () => createCollector([...needs], weights[0].shape[1], modules[0]);
        const reference = original && { walk: original, stage, output };
        const collector = await collect(create, walk, context, { original: reference, part });
        for (const [index, module] of modules.entries()) {
          await yieldToEventLoop(context.signal);
          const { statistics, tokens } = collector;
          const replaced = await visit({ module, weight: weights[index], statistics, tokens });
          if (replaced) walk.setWeight(`${module}.weight`, replaced);
        }
      }
      if (stage !== lastStage) for (const each of walks) await each.run(stage);
    }
  };
  try {
    await embedWindows(walks, read);
    const { progress } = context;
    await walkBlocks(walks, { read, visit: visitBlock, progress, task: 'calibrate' });
  } finally {
    for (const each of walks) each.dispose();
  }
}

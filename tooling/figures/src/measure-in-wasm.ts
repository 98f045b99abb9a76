import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, type Kernels, type Quantizer, type Scheme, type Tuner } from '@q/core';
import { endLossStatistics } from '@q/end-loss';
import { evaluate, runWindows } from '@q/eval';
import { createForwardEngine, createTrainingEngine } from '@q/kernels-wasm';
import { planRun, runPlan } from '@q/pipeline';
import { processorSecondsSince } from './measure-recipe.js';
import type { Subject } from './subject.js';

export interface WasmRun {
  readonly kl: number;
  readonly perplexity: number;
  /**
   * Processor seconds of quantizing on all threads together: forward and backward passes, solving, training, and
   * writing the folder.
   */
  readonly processorSeconds: number;
}

/** Quantizes and scores with only the engines of the wasm kernels, so times of methods can be compared. */
export async function measureInWasm(
  { folder, calibration, valid }: Subject,
  { quantizer, tuner, scheme }: { readonly quantizer: Quantizer; readonly tuner?: Tuner; readonly scheme: Scheme },
  kernels: Kernels,
): Promise<WasmRun> {
  const layout = gptqLayout();
  const { threads } = kernels;
  const out = join(tmpdir(), `q-end-loss-${process.pid}`);
  const source = await openCheckpoint(folder, [layout]);
  const { model } = source;
  if (!model) throw new Error(`${folder}: unknown architecture`);
  try {
    const context = createContext({ kernels, seed: 0 });
    const plan = planRun(source, { layout, rules: [{ match: /^(?!lm_head$)/, quantizer, scheme }], tuner, seed: 0 });
    const before = process.cpuUsage();
    await runPlan(plan, {
      ...{ out, context, calibration },
      forward: () => createForwardEngine({ threads }),
      engine: () => createTrainingEngine({ threads }),
      async endLoss(windows) {
        const engine = await createTrainingEngine({ threads });
        const found = await endLossStatistics({ model, engine, source, windows }, context);
        await engine.dispose();
        return found;
      },
    });
    const processorSeconds = processorSecondsSince(before);
    const written = await openCheckpoint(out, [layout]);
    const engine = await createForwardEngine({ threads });
    const original = await runWindows(model, engine, (name) => source.weight(name), valid);
    const quantized = await runWindows(model, engine, (name) => written.weight(name), valid);
    const { perplexity, kl = Number.NaN } = await evaluate(quantized, valid, { against: original });
    await engine.dispose();
    await written.close();
    return { kl, perplexity, processorSeconds };
  } finally {
    await source.close();
    await rm(out, { recursive: true, force: true });
  }
}

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { adapterConfigName, type Checkpoint, readAdapter } from '@q/checkpoint';
import { dequantize, type LowRankAdapter } from '@q/core';
import { checkAdapter, mergeLowRank } from '@q/qat';
import type { Weights } from './adapter-tuners/adapter-tuner.js';
import { readTask, taskConfigName } from './adapter-tuners/task-folder.js';
import { UsageError } from './usage-error.js';

/** The weights of a checkpoint with an adapter of PEFT, or a task of `q finetune --method peqa`, in `folder`. */
export async function adaptedWeights(folder: string, checkpoint: Checkpoint): Promise<Weights> {
  const has = async (name: string) => (await stat(join(folder, name)).catch(() => undefined)) !== undefined;
  if (await has(taskConfigName)) {
    const task = await readTask(folder, checkpoint);
    const modules = new Set(checkpoint.quantizedModules);
    return async (name) => {
      const module = name.replace(/\.weight$/, '');
      return name.endsWith('.weight') && modules.has(module)
        ? dequantize(task.quantized(module))
        : checkpoint.weight(name);
    };
  }
  if (!(await has(adapterConfigName)))
    throw new UsageError(`--adapter ${folder}: has neither ${adapterConfigName} nor ${taskConfigName}`);
  const adapter = await openLowRank(folder, checkpoint);
  return async (name) => {
    const weight = await checkpoint.weight(name);
    const pair = name.endsWith('.weight') ? adapter.modules.get(name.replace(/\.weight$/, '')) : undefined;
    return pair ? mergeLowRank(weight, pair, adapter.alpha / adapter.rank) : weight;
  };
}

/** @throws SchemeError when the adapter belongs to another model */
async function openLowRank(folder: string, checkpoint: Checkpoint): Promise<LowRankAdapter> {
  if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  const adapter = await readAdapter(folder);
  const linears = checkpoint.model.blocks.flatMap((block) => block.linears);
  checkAdapter(adapter, new Map(linears.map((linear) => [linear.module, linear])), folder);
  return adapter;
}

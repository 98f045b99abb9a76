import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '@q/checkpoint';
import { FormatError, type QuantizedTensor, SchemeError } from '@q/core';
import { type FileOptions, writeFileDurably } from '@q/durable-files';
import { type Tasks, tasks } from '@q/qat';
import { readSafetensorsFile, writeSafetensorsFile } from '@q/safetensors';

/** Files of a task: scales in f16, and the checksum of the integers that they belong to. */
export const taskConfigName = 'q-task.json';
const taskWeightsName = 'task.safetensors';

/** The quantized linears of a checkpoint. */
export async function quantizedLinears(checkpoint: Checkpoint): Promise<Map<string, QuantizedTensor>> {
  const linears = new Set(checkpoint.model?.blocks.flatMap((block) => block.linears).map(({ module }) => module));
  const out = new Map<string, QuantizedTensor>();
  for (const module of checkpoint.quantizedModules) {
    const quantized = linears.has(module) ? await checkpoint.quantized(module) : undefined;
    if (quantized) out.set(module, quantized);
  }
  return out;
}

/** SHA-256 of all codes and zero points, by module: a task is valid only for these. */
export function integersChecksum(modules: ReadonlyMap<string, QuantizedTensor>): string {
  const hash = createHash('sha256');
  for (const [module, { codes, zeroPoints }] of [...modules].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(module);
    for (const part of [codes, zeroPoints])
      if (part) hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  }
  return hash.digest('hex');
}

/** @returns the names of the files, and the bytes of the scales' file */
export async function writeTask(
  folder: string,
  known: Tasks,
  name: string,
  base: { readonly path: string; readonly integers: string },
  options: FileOptions = {},
): Promise<{ files: readonly string[]; bytes: number }> {
  await writeSafetensorsFile(join(folder, taskWeightsName), known.save(name), options);
  const config = { kind: 'peqa', model: base.path, integers: base.integers };
  await writeFileDurably(join(folder, taskConfigName), `${JSON.stringify(config, null, 2)}\n`, options);
  return { files: [taskConfigName, taskWeightsName], bytes: (await stat(join(folder, taskWeightsName))).size };
}

/**
 * Applies a task's scales to a checkpoint.
 * @throws SchemeError when the checkpoint has other integers than the training of the task
 */
export async function readTask(folder: string, checkpoint: Checkpoint): Promise<Tasks> {
  const path = join(folder, taskConfigName);
  const { kind, integers } = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  if (kind !== 'peqa') throw new FormatError(`${path}: is not a task of q finetune --method peqa`);
  const base = await quantizedLinears(checkpoint);
  if (base.size === 0)
    throw new SchemeError(`${folder}: is a task of a quantized model, and ${checkpoint.path} is not quantized`);
  const found = integersChecksum(base);
  const known = tasks(base);
  known.load('task', await readSafetensorsFile(join(folder, taskWeightsName)));
  if (found !== integers)
    throw new SchemeError(
      `${folder}: was trained over the integers ${`${integers}`.slice(0, 12)}, ${checkpoint.path} has ${found.slice(0, 12)}: it is a task of another model`,
    );
  known.use('task');
  return known;
}

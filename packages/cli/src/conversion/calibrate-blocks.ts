import { createHash } from 'node:crypto';
import type { Checkpoint } from '@q/checkpoint';
import {
  type BlockFormat,
  CalibrationError,
  createContext,
  type ModelDescription,
  meanSquare,
  type Tensor,
  tensor,
} from '@q/core';
import type { ConvertedModel, ImportanceData, RequantizePlan } from '@q/gguf';
import { blockStatistics, solveBlocks } from '@q/gptq';
import { hashCheckpoint, hashWindows, walkLinears } from '@q/pipeline';
import type { CommandContext } from '../command.js';
import { createCompute } from '../engine.js';
import { loadWindows } from '../texts.js';
import { openSolvedStore, type SolvedModule } from './solved-store.js';

export interface CalibrationFlags {
  readonly calib?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly engine?: string;
  readonly threads?: number;
}

/** Number of windows that the model runs at a time. */
const batch = 8;

/** Runs a model over calibration text. `close` frees it. */
export async function openCalibration(
  checkpoint: Checkpoint,
  flags: CalibrationFlags,
  { terminal, signal }: CommandContext,
) {
  const model: ModelDescription | undefined = checkpoint.model;
  if (!model) throw checkpoint.unknownArchitecture as Error;
  const { samples: count = 128, length = 256 } = flags;
  if (flags.calib === undefined) throw new CalibrationError('--calib FILE is needed: text to calibrate on');
  const windows = await loadWindows(checkpoint.path, { path: flags.calib, length, count });
  const compute = await createCompute({ engine: flags.engine, threads: flags.threads });
  const context = createContext({
    ...{ kernels: compute.kernels, seed: 0, logger: terminal.logger, progress: terminal.progress, signal },
  });
  const engine = await compute.forward(model);
  const close = async () => {
    await engine.dispose();
    await compute.dispose();
  };
  return { model, windows, context, engine, close };
}

/** The squares of the inputs of every matrix of the blocks, with the names of the file; experts of a block together. */
export async function collectImportance(
  checkpoint: Checkpoint,
  converted: ConvertedModel,
  flags: CalibrationFlags,
  command: CommandContext,
): Promise<ImportanceData> {
  const { model, windows, context, engine, close } = await openCalibration(checkpoint, flags, command);
  try {
    const seen = new Map<string, { squares: Float32Array; tokens: number }>();
    await walkLinears({
      ...{ model, windows, context, engine, batch, needs: [meanSquare] },
      weight: (name) => checkpoint.weight(name),
      async visit({ module, statistics, tokens, weight }) {
        const sums =
          tokens > 0 ? Float32Array.from(statistics.get(meanSquare).values) : new Float32Array(weight.shape[1]);
        seen.set(`${module}.weight`, { squares: sums, tokens });
        return undefined;
      },
    });
    const sums = new Map<string, { squares: Float32Array; counts: Float32Array }>();
    for (const { name, from } of converted.tensors) {
      const parts = from.map((source) => seen.get(source));
      if (parts.length === 0 || parts.some((part) => !part)) continue;
      const known = parts as { squares: Float32Array; tokens: number }[];
      const [{ squares: first }] = known;
      const squares = new Float32Array(first.length * known.length);
      for (const [index, part] of known.entries()) squares.set(part.squares, index * first.length);
      sums.set(name, { squares, counts: Float32Array.from(known, ({ tokens }) => tokens) });
    }
    return { sums, datasets: [flags.calib as string], chunks: windows.count, chunkSize: windows.length };
  } finally {
    await close();
  }
}

/** Results of {@link solveWeights}. */
export interface SolvedWeights {
  /** Rows in blocks, by the name of the weight in the checkpoint. */
  readonly encoded: ReadonlyMap<string, Uint8Array>;
  readonly layers: readonly { readonly module: string; readonly loss: number; readonly encoderLoss: number }[];
  /** Removes the stored results. */
  discard(): Promise<void>;
}

export interface WeightsToSolve {
  readonly checkpoint: Checkpoint;
  readonly converted: ConvertedModel;
  /** The types. */
  readonly plan: RequantizePlan;
  /** Stores solved weights until they are discarded: the same call goes on from there. */
  readonly folder: string;
}

/**
 * Solves every matrix of the blocks for the type that the plan gives it, one module after the other.
 * @throws UsageError when the folder is that of another run
 */
export async function solveWeights(
  { checkpoint, converted, plan, folder }: WeightsToSolve,
  flags: CalibrationFlags,
  command: CommandContext,
): Promise<SolvedWeights> {
  const { model, windows, context, engine, close } = await openCalibration(checkpoint, flags, command);
  const formats = new Map<string, BlockFormat>();
  const types = new Map(plan.tensors.map(({ from, to }) => [from.name, to]));
  for (const { name, from } of converted.tensors) {
    const format = types.get(name)?.format;
    if (format?.grid) for (const source of from) formats.set(source, format);
  }
  const encoded = new Map<string, Uint8Array>();
  const layers: { module: string; loss: number; encoderLoss: number }[] = [];
  try {
    const hash = createHash('sha256');
    await hashCheckpoint(hash, checkpoint);
    hashWindows(hash, windows);
    for (const [name, { name: type }] of formats) hash.update(`${name} ${type};`);
    const store = await openSolvedStore(folder, hash.digest('hex'), command.files);
    const note = ({ module, bytes, loss, encoderLoss }: SolvedModule) => {
      encoded.set(`${module}.weight`, bytes);
      layers.push({ module, loss, encoderLoss });
    };
    await walkLinears({
      ...{ model, windows, context, engine, batch, needs: blockStatistics },
      weight: (name) => checkpoint.weight(name),
      async finished(module) {
        const format = formats.get(`${module}.weight`);
        const found = format && (await store.read(module));
        if (!found) return undefined;
        note(found);
        return decoded(format, found.bytes, (await checkpoint.weight(`${module}.weight`)).shape);
      },
      async visit({ module, weight, statistics, tokens }) {
        const format = formats.get(`${module}.weight`);
        const before = encoded.get(`${module}.weight`);
        if (format && before) return decoded(format, before, weight.shape);
        // An expert with hardly any token cannot be solved: the plain encoder encodes it.
        if (!format || tokens < Math.min(64, windows.length)) return undefined;
        const { bytes, values, loss, encoderLoss } = await solveBlocks(weight, statistics, format, context.kernels);
        const solved = { module, bytes, loss, encoderLoss };
        await store.write(solved);
        note(solved);
        return values;
      },
    });
    return { encoded, layers, discard: () => store.remove() };
  } finally {
    await close();
  }
}

function decoded(format: BlockFormat, bytes: Uint8Array, shape: readonly number[]): Tensor<'f32'> {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  format.decode(bytes, values);
  return tensor('f32', shape, values);
}

import type { Checkpoint } from '@q/checkpoint';
import { type BlockFormat, SchemeError, type Tensor, tensor } from '@q/core';
import { evaluate, type LogitsSource, runWindows } from '@q/eval';
import {
  alignedLength,
  type ConvertedModel,
  defaultAlignment,
  ggufTensorTypeFor,
  iq4_NL,
  iq4_XS,
  q2_K,
  q3_K,
  q4_0,
  q4_1,
  q4_K,
  q5_0,
  q5_1,
  q5_K,
  q6_K,
  q8_0,
  type RequantizedTensor,
  type RequantizePlan,
} from '@q/gguf';
import { chooseWithinBudget } from '@q/mixed-precision';
import type { CommandContext } from '../command.js';
import { type CalibrationFlags, openCalibration } from './calibrate-blocks.js';

export interface TypeChoice {
  readonly checkpoint: Checkpoint;
  readonly model: ConvertedModel;
  /** A plan whose bytes are the limit; tensors that it leaves in floats stay floats. */
  readonly limit: RequantizePlan;
  /** Bytes of the file that are the limit instead of the plan's. The plan's own types are then no choice. */
  readonly bytes?: number;
  /** Whether matrices of the blocks are solved with their inputs, which halves the cost of rounding. */
  readonly solved: boolean;
}

/** From small to large. */
const candidates: readonly BlockFormat[] = [...[q2_K, q3_K, iq4_XS, iq4_NL, q4_K, q4_1, q5_0, q5_K, q5_1, q6_K, q8_0]];
/**
 * Types for measuring the cost of rounding: all matrices of one part of the blocks get the first, other matrices the
 * second.
 */
const probes = { blocks: q4_0, ends: q5_0 } as const;
/** Share of the cost that remains when a matrix is solved: 0.54 to 0.55 in the mixes of docs/gguf.md. */
const solvedShare = 0.5;
/** Windows that are run for each part. */
const probeWindows = 2;
/** Rows of a matrix for measuring errors. */
const sampledRows = 32;

/**
 * Types of single matrices, with the least estimated divergence within the bytes of a plan. The cost of a type for a
 * matrix is its relative error on a sample of rows, times the cost of such an error in matrices of its part
 * (`ffn_down`, `attn_q`, ...). The latter is the divergence of one run with all of them rounded. If the plan's own
 * types are better on the same windows, they stay.
 * @throws SchemeError when the limit has no matrix to choose for, and for encoders
 */
export async function chooseTypes(
  { checkpoint, model, limit, bytes, solved }: TypeChoice,
  flags: CalibrationFlags,
  command: CommandContext,
): Promise<{ readonly types: ReadonlyMap<string, BlockFormat>; readonly words: string }> {
  if (!checkpoint.model?.head)
    throw new SchemeError(
      `${checkpoint.path}: predicts no tokens, and types are chosen by the effect of rounding on these: name one with --type`,
    );
  const sources = new Map(model.tensors.map((each) => [each.name, each.from]));
  const inBlocks = new Set(
    checkpoint.model?.blocks.flatMap(({ linears }) => linears.map(({ module }) => `${module}.weight`)),
  );
  const chosen = limit.tensors.filter(({ to, from }) => to.format?.grid && (sources.get(from.name)?.length ?? 0) > 0);
  if (chosen.length === 0)
    throw new SchemeError(
      `${checkpoint.path}: has no matrix whose type could be chosen within ${bytes ?? limit.file.byteLength} bytes`,
    );
  const units = await measureUnits(checkpoint, chosen, sources, inBlocks);
  const planned = units.reduce((sum, { tensor: { bytes: own } }) => sum + aligned(own), 0);
  const budget = bytes === undefined ? planned : bytes - (limit.file.byteLength - planned);
  const least = units.reduce((sum, { options }) => sum + Math.min(...options.map((option) => option.bytes)), 0);
  if (least > budget)
    throw new SchemeError(
      `${checkpoint.path}: the smallest file that its types give has ${limit.file.byteLength - planned + least} bytes: allow more`,
    );
  const {
    model: description,
    windows,
    context,
    engine,
    close,
  } = await openCalibration(checkpoint, { ...flags, samples: probeWindows }, command);
  try {
    const run = (weight: (name: string) => Promise<Tensor<'f32'>>): Promise<LogitsSource> =>
      runWindows(description, engine, weight, windows, { batch: probeWindows });
    const original = await run((name) => checkpoint.weight(name));
    /** Divergence with some matrices rounded. */
    const divergence = async (formats: ReadonlyMap<string, BlockFormat>): Promise<number> => {
      const logits = await run(async (name) => {
        const found = await checkpoint.weight(name);
        const format = formats.get(description.ties.get(name) ?? name);
        const values = format && rounded(format, found.data);
        return values ? tensor('f32', found.shape, values) : found;
      });
      const { kl = 0 } = await evaluate(logits, windows, {
        ...{ against: original, batch: probeWindows, kernels: context.kernels, signal: command.signal },
      });
      return kl;
    };
    const formatsOf = (all: readonly Unit[], format: (unit: Unit) => BlockFormat) =>
      new Map(all.flatMap((unit) => unit.sources.map((name) => [name, format(unit)] as const)));
    const weights = new Map<string, number>();
    for (const part of new Set(units.map((unit) => unit.part))) {
      const own = units.filter((unit) => unit.part === part);
      const error = own.reduce((sum, { probeError }) => sum + probeError, 0);
      const kl = error > 0 ? await divergence(formatsOf(own, ({ kind }) => probes[kind])) : 0;
      weights.set(part, error > 0 ? Math.max(kl, 1e-12) / error : 0);
    }
    const options = units.map(({ part, kind, options: all }) => {
      const weight = (weights.get(part) as number) * (solved && kind === 'blocks' ? solvedShare : 1);
      return all.map(({ format, bytes: cost, error }) => ({ format, cost, loss: weight * error }));
    });
    const { chosen: indices, cost } = chooseWithinBudget(options, budget);
    const found = new Map(units.map((unit, i) => [unit, options[i][indices[i]].format]));
    const own = await divergence(formatsOf(units, (unit) => found.get(unit) as BlockFormat));
    let measured = `divergence of plain rounding ${own.toPrecision(3)}`;
    if (bytes === undefined) {
      const plans = await divergence(formatsOf(units, ({ tensor: { to } }) => to.format as BlockFormat));
      measured += `, of the mix's own types ${plans.toPrecision(3)}`;
      if (own >= plans) return { types: new Map(), words: `types of the mix stay: ${measured}` };
    }
    const types = new Map([...found].map(([unit, format]) => [unit.tensor.from.name, format]));
    return { types, words: `types within ${budget} bytes: ${listed(types)} (${cost} bytes); ${measured}` };
  } finally {
    await close();
  }
}

/** `12 Q4_K, 3 Q6_K` */
function listed(types: ReadonlyMap<string, BlockFormat>): string {
  const counts = new Map<string, number>();
  for (const { name } of types.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
}

/** Bytes of a tensor with those up to the next one. */
const aligned = (bytes: number): number => alignedLength(bytes, defaultAlignment);

interface Unit {
  readonly tensor: RequantizedTensor;
  readonly kind: keyof typeof probes;
  /** Its name without the block's number. */
  readonly part: string;
  readonly sources: readonly string[];
  /** Mean square of the error over that of the values. */
  readonly options: readonly { readonly format: BlockFormat; readonly bytes: number; readonly error: number }[];
  readonly probeError: number;
}

async function measureUnits(
  checkpoint: Checkpoint,
  tensors: readonly RequantizedTensor[],
  names: ReadonlyMap<string, readonly string[]>,
  inBlocks: ReadonlySet<string>,
): Promise<Unit[]> {
  const units: Unit[] = [];
  for (const planned of tensors) {
    const sources = names.get(planned.from.name) as readonly string[];
    const { shape } = planned.from;
    const columns = shape[shape.length - 1];
    const count = shape.reduce((product, size) => product * size, 1);
    const rows = sampleRows((await checkpoint.weight(sources[0])).data, columns);
    const { importance } = planned;
    const weights = importance && importance.length === columns ? importance : undefined;
    const kind = sources.every((name) => inBlocks.has(name)) ? 'blocks' : 'ends';
    const error = (format: BlockFormat) => relativeError(format, rows, columns, weights);
    const options = candidates
      .filter(({ values }) => columns % values === 0)
      .map((format) => ({
        ...{ format, error: error(format) },
        bytes: aligned((count / format.values) * ggufTensorTypeFor(format).bytes),
      }))
      .filter(({ error: found }) => Number.isFinite(found));
    if (options.length === 0) continue;
    const part = planned.from.name.replace(/^blk\.\d+\./, '');
    units.push({ tensor: planned, kind, part, sources, options, probeError: error(probes[kind]) });
  }
  return units;
}

/** Rows spread evenly. */
function sampleRows(values: Float32Array, columns: number): Float32Array {
  const rows = values.length / columns;
  if (rows <= sampledRows) return values;
  const out = new Float32Array(sampledRows * columns);
  for (let i = 0; i < sampledRows; i++) {
    const row = Math.floor((i * rows) / sampledRows);
    out.set(values.subarray(row * columns, (row + 1) * columns), i * columns);
  }
  return out;
}

function relativeError(
  format: BlockFormat,
  rows: Float32Array,
  columns: number,
  weights: Float32Array | undefined,
): number {
  const decoded = rounded(format, rows, weights);
  if (!decoded) return Number.POSITIVE_INFINITY;
  let [error, square] = [0, 0];
  for (let i = 0; i < rows.length; i++) {
    const weight = weights ? weights[i % columns] : 1;
    error += weight * (rows[i] - decoded[i]) ** 2;
    square += weight * rows[i] ** 2;
  }
  return square > 0 ? error / square : 0;
}

/** The values that a reader decodes; undefined if the format cannot represent them. */
function rounded(format: BlockFormat, values: Float32Array, weights?: Float32Array): Float32Array | undefined {
  const bytes = new Uint8Array((values.length / format.values) * format.bytes);
  if (!format.encode(values, bytes, weights)) return undefined;
  const out = new Float32Array(values.length);
  format.decode(bytes, out);
  return out;
}

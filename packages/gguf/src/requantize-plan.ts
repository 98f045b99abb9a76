import { type BlockFormat, SchemeError } from '@q/core';
import { q5_1 } from './blocks/affine-block.js';
import { q2_K, q4_K, q5_K } from './blocks/affine-super-block.js';
import { f16Block } from './blocks/float-blocks.js';
import { iq4_NL, iq4_XS } from './blocks/iq4.js';
import { q3_K } from './blocks/q3-k.js';
import { q6_K } from './blocks/q6-k.js';
import { q8_0 } from './blocks/q8-0.js';
import { q4_0, q5_0 } from './blocks/symmetric-block.js';
import { tq1_0, tq2_0 } from './blocks/ternary-blocks.js';
import { type GgufFilePlan, planGgufFile } from './file-plan.js';
import type { GgufHeader, GgufTensor } from './header.js';
import type { ImportanceMatrix } from './importance-matrix.js';
import type { GgufMetadata, GgufValue } from './metadata.js';
import { type GgufMix, type MixPlace, mixPlaces } from './mix.js';
import { type GgufTensorType, ggufTensorTypeFor } from './tensor-type.js';

export interface RequantizeOptions {
  /** The type of matrices: one type, or a mix. */
  readonly type: BlockFormat | GgufMix;
  /** The type of the output layer, or of the embeddings if these are both. Default: `llamaOutput`. */
  readonly output?: OutputChoice;
  /** The type of embeddings that are not the output layer. Default: `type`, or the base of a mix. */
  readonly embeddings?: BlockFormat | 'keep';
  /** Types of single tensors, by name. They override all other rules. */
  readonly types?: ReadonlyMap<string, BlockFormat>;
  /** Names of tensors that stay as they are, whatever other rules say. */
  readonly kept?: ReadonlySet<string>;
  /** Weights of the columns of each matrix. */
  readonly importance?: ImportanceMatrix;
  /** Round matrices that are quantized already, which loses more accuracy than usual for the type. */
  readonly requantize?: boolean;
}

export type OutputChoice = BlockFormat | 'keep' | 'like-llama';

/** The plan for one tensor. */
export interface RequantizedTensor {
  readonly from: GgufTensor;
  readonly to: GgufTensorType;
  /** The reason, in words. */
  readonly why: string;
  /** The type that the rules chose, if rows of this length are not whole blocks of it and `to` is in its stead. */
  readonly unfit?: BlockFormat;
  readonly bytes: number;
  /** Weights of the columns; if the tensor has several matrices, those of one after the other. */
  readonly importance?: Float32Array;
}

export interface RequantizePlan {
  readonly metadata: GgufMetadata;
  /** In the order of the file. */
  readonly tensors: readonly RequantizedTensor[];
  readonly file: GgufFilePlan;
  /** Bytes of all tensors, without padding. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** Small matrices that models depend on (llama-quant.cpp): llama.cpp does not quantize them. */
const leftAlone = [
  ...['_norm.weight', 'ffn_gate_inp.weight', 'ffn_gate_tid2eid.weight', 'altup', 'laurel', 'per_layer_model_proj'],
  ...['position_embd', 'token_types', 'ssm_conv1d', 'shortconv.conv.weight', 'attn_rel_b.weight'],
  ...['indexer.k_proj.weight', 'indexer.q_proj.weight', 'time_mix_first.weight'],
  ...['w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2', 'decay_w1', 'decay_w2', 'lerp_fused'].map(
    (part) => `time_mix_${part}.weight`,
  ),
  // Of models with vision and audio.
  ...['sam.pos_embd', 'sam.neck.', 'sam.net_', '.rel_pos', '.patch_embd', '.patch_merger'],
  ...['a.rvq.codebook', 'mm.a.code_embd'],
];

/** Types for rows that are not whole blocks of 256 (llama-quant.cpp). */
const narrower: ReadonlyMap<BlockFormat, BlockFormat> = new Map([
  [q2_K, q4_0],
  [q3_K, q4_0],
  [tq1_0, q4_0],
  [tq2_0, q4_0],
  [iq4_XS, iq4_NL],
  [q4_K, q5_0],
  [q5_K, q5_1],
  [q6_K, q8_0],
]);

const outputName = 'output.weight';
const embeddingsName = 'token_embd.weight';
const embeddingsNames = [embeddingsName, 'per_layer_token_embd.weight'];

/**
 * Decides the type of every tensor, from the header alone.
 * @param name of the file, for messages
 * @throws SchemeError when a matrix is quantized already or has values that this toolkit does not read, and when the
 *   rules of a mix do not fit the model
 */
export function planRequantize(header: GgufHeader, options: RequantizeOptions, name: string): RequantizePlan {
  const all = [...header.tensors.values()];
  const { type } = options;
  const places =
    'base' in type
      ? mixPlaces(
          header,
          all.filter((tensor) => staysAs(tensor) === undefined),
          name,
          options.importance !== undefined,
        )
      : undefined;
  const tensors = all.map((tensor) => decide(tensor, header, options, places?.get(tensor.name), name));
  const metadata = new Map<string, GgufValue>(header.metadata);
  const fileType = 'base' in type ? type.fileType : ggufTensorTypeFor(type).fileType;
  if (fileType !== undefined) metadata.set('general.file_type', { type: 'u32', value: fileType });
  if (tensors.some(({ to }) => to.values > 1)) metadata.set('general.quantization_version', { type: 'u32', value: 2 });
  const file = planGgufFile(
    metadata,
    tensors.map(({ from, to }) => ({ name: from.name, type: to, shape: from.shape })),
  );
  const sum = (bytes: (tensor: RequantizedTensor) => number) => tensors.reduce((all, each) => all + bytes(each), 0);
  return {
    ...{ metadata, tensors, file },
    bytesBefore: sum(({ from }) => from.end - from.begin),
    bytesAfter: sum(({ bytes }) => bytes),
  };
}

/** The reason why a tensor is not quantized; undefined for the others. Outer sizes of 1 do not make a matrix. */
export function staysAs({ name, shape }: Pick<GgufTensor, 'name' | 'shape'>): string | undefined {
  const outermost = shape.findIndex((size) => size !== 1);
  if (outermost < 0 || shape.length - outermost < 2) return 'a vector';
  if (!name.endsWith('weight') || leftAlone.some((part) => name.includes(part)))
    return 'small, and models depend on it';
  return undefined;
}

function decide(
  from: GgufTensor,
  header: GgufHeader,
  options: RequantizeOptions,
  place: MixPlace | undefined,
  name: string,
): RequantizedTensor {
  const keep = (why: string): RequantizedTensor => ({ from, to: from.type, why, bytes: from.end - from.begin });
  const stays = staysAs(from);
  if (stays !== undefined) return keep(stays);
  if (options.kept?.has(from.name)) return keep('kept: its values are too small for the scales of the type');
  const row = from.shape[from.shape.length - 1];
  const own = options.types?.get(from.name);
  const [wanted, role] = own ? ([own, 'a type of its own'] as const) : choose(from.name, row, header, options, place);
  if (wanted === 'keep') return keep(`${role}, kept`);
  const format = fitting(wanted, row);
  const unfit = format === wanted ? undefined : wanted;
  const why = unfit ? `${role}; rows of ${row} are not whole blocks of ${unfit.values}, so not ${unfit.name}` : role;
  if (format === from.type.format) return { ...keep(why), ...(unfit ? { unfit } : {}) };
  // Rounding a quantized matrix again would lose more accuracy than usual for the type.
  if (!from.type.format || (from.type.values > 1 && !options.requantize))
    throw new SchemeError(
      `${name}: tensor ${from.name} is ${from.type.name} and was to become ${format.name}: start from a file in F32, F16 or BF16, ` +
        'or allow it with --requantize',
    );
  const to = ggufTensorTypeFor(format);
  const count = from.shape.reduce((product, size) => product * size, 1);
  const weights = to.values > 1 ? options.importance?.get(from.name) : undefined;
  if (weights && count % weights.length !== 0)
    throw new SchemeError(
      `${name}: the importance matrix has ${weights.length} weights for ${from.name} of shape [${from.shape.join(', ')}]: ` +
        'it belongs to another model',
    );
  return {
    ...{ from, to, why, bytes: (count / to.values) * to.bytes },
    ...(unfit ? { unfit } : {}),
    ...(weights ? { importance: weights } : {}),
  };
}

function choose(
  name: string,
  row: number,
  header: GgufHeader,
  { type, output = 'like-llama', embeddings }: RequantizeOptions,
  place: MixPlace | undefined,
): readonly [wanted: BlockFormat | 'keep', role: string] {
  const base = 'base' in type ? type.base : type;
  const tied = !header.tensors.has(outputName) && embeddingsNames.includes(name);
  if (embeddingsNames.includes(name) && !tied) {
    const other = place && 'base' in type ? type.choose(place) : undefined;
    return [embeddings ?? other ?? base, 'embeddings'];
  }
  if (name !== outputName && !tied) {
    const other = place && 'base' in type ? type.choose(place) : undefined;
    return other ? [other, `a matrix that ${type.name} gives more`] : [base, 'a matrix'];
  }
  const role = tied ? 'embeddings and output' : 'output';
  if (output !== 'like-llama') return [output, role];
  // llama-quantize: at least 6 bits, unless all matrices are floats.
  if (base.values === 1 || base === q8_0) return [base, role];
  return [row % q6_K.values === 0 ? q6_K : q8_0, role];
}

/** The format, or its replacement for rows of this length. */
function fitting(wanted: BlockFormat, row: number): BlockFormat {
  if (row % wanted.values === 0) return wanted;
  const next = narrower.get(wanted);
  return next && row % next.values === 0 ? next : f16Block;
}

import { type BlockFormat, f16Block, q4_K, q5_0, q5_1, q5_K, q6_K, q8_0, SchemeError } from '@q/core';
import { type GgufFilePlan, planGgufFile } from './file-plan.js';
import type { GgufHeader, GgufTensor } from './header.js';
import type { GgufMetadata, GgufValue } from './metadata.js';
import { type GgufTensorType, ggufTensorTypeFor } from './tensor-type.js';

export interface RequantizeOptions {
  /** What matrices become. */
  readonly type: BlockFormat;
  /** What the output layer becomes, or the embeddings where these are both. Default: `llamaOutput`. */
  readonly output?: OutputChoice;
  /** What embeddings that are no output layer become. Default: `type`. */
  readonly embeddings?: BlockFormat | 'keep';
}

export type OutputChoice = BlockFormat | 'keep' | 'like-llama';

/** What happens to a tensor. */
export interface RequantizedTensor {
  readonly from: GgufTensor;
  readonly to: GgufTensorType;
  /** In words. */
  readonly why: string;
  readonly bytes: number;
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

/** Matrices that are small, and that models depend on (formats.md 6.10): llama.cpp leaves them as they are. */
const leftAlone = [
  ...['_norm.weight', 'ffn_gate_inp.weight', 'altup', 'laurel', 'per_layer_model_proj', 'position_embd', 'token_types'],
  ...['ssm_conv1d', 'shortconv.conv.weight', 'attn_rel_b.weight', 'time_mix_first.weight'],
  ...['w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2', 'decay_w1', 'decay_w2', 'lerp_fused'].map(
    (part) => `time_mix_${part}.weight`,
  ),
];

/** What holds rows that are not whole blocks of 256 (formats.md 6.10). */
const narrower: ReadonlyMap<BlockFormat, BlockFormat> = new Map([
  [q4_K, q5_0],
  [q5_K, q5_1],
  [q6_K, q8_0],
]);

const outputName = 'output.weight';
const embeddingsName = 'token_embd.weight';

/**
 * Decides what becomes of every tensor, from the header alone.
 * @param name of the file, for messages
 * @throws SchemeError when a matrix is quantized already, or has values that this toolkit does not read
 */
export function planRequantize(header: GgufHeader, options: RequantizeOptions, name: string): RequantizePlan {
  const tensors = [...header.tensors.values()].map((tensor) => decide(tensor, header, options, name));
  const metadata = new Map<string, GgufValue>(header.metadata);
  const { fileType } = ggufTensorTypeFor(options.type);
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

function decide(from: GgufTensor, header: GgufHeader, options: RequantizeOptions, name: string): RequantizedTensor {
  const keep = (why: string): RequantizedTensor => ({ from, to: from.type, why, bytes: from.end - from.begin });
  if (from.shape.length < 2) return keep('a vector');
  if (!from.name.endsWith('weight') || leftAlone.some((part) => from.name.includes(part)))
    return keep('small, and models depend on it');
  const row = from.shape[from.shape.length - 1];
  const [wanted, role] = choose(from.name, row, header, options);
  if (wanted === 'keep') return keep(`${role}, kept`);
  const [format, why] = fitting(wanted, row, role);
  if (format === from.type.format) return keep(why);
  // Rounding what is rounded already would lose more than the type promises.
  if (from.type.values > 1 || !from.type.format)
    throw new SchemeError(
      `${name}: tensor ${from.name} is ${from.type.name} and was to become ${format.name}: start from a file in F32, F16 or BF16`,
    );
  const to = ggufTensorTypeFor(format);
  const count = from.shape.reduce((product, size) => product * size, 1);
  return { from, to, why, bytes: (count / to.values) * to.bytes };
}

function choose(
  name: string,
  row: number,
  header: GgufHeader,
  { type, output = 'like-llama', embeddings = type }: RequantizeOptions,
): readonly [wanted: BlockFormat | 'keep', role: string] {
  const tied = !header.tensors.has(outputName);
  if (name === embeddingsName && !tied) return [embeddings, 'embeddings'];
  if (name !== outputName && name !== embeddingsName) return [type, 'a matrix'];
  const role = tied ? 'embeddings and output' : 'output';
  if (output !== 'like-llama') return [output, role];
  // llama-quantize: 6 bits at least, unless all is kept in floats.
  if (type.values === 1 || type === q8_0) return [type, role];
  return [row % q6_K.values === 0 ? q6_K : q8_0, role];
}

/** The format, or what holds rows of this length in its place. */
function fitting(wanted: BlockFormat, row: number, role: string): readonly [format: BlockFormat, why: string] {
  if (row % wanted.values === 0) return [wanted, role];
  const next = narrower.get(wanted);
  const format = next && row % next.values === 0 ? next : f16Block;
  return [format, `${role}; rows of ${row} are not whole blocks of ${wanted.values}, so not ${wanted.name}`];
}

import { FormatError, type Tensor, tensor } from '@q/core';

/** The header of a llama2.c checkpoint. */
interface Llama2cConfig {
  readonly dim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocabulary: number;
  readonly positions: number;
  readonly tied: boolean;
}

/** A checkpoint under Hugging Face names, in Hugging Face's rotary layout. */
export interface Llama2cModel {
  readonly config: Llama2cConfig;
  readonly tensors: ReadonlyMap<string, Tensor<'f32'>>;
}

const headerWords = 7;

/**
 * Reads the legacy f32 container of llama2.c (`export.py`, version 0): seven i32 (dim, hidden, layers, heads, kv heads,
 * vocabulary, positions), then the weights of all layers kind by kind. A negative vocabulary means that the classifier
 * has its own weights.
 * @throws FormatError when the bytes do not have exactly that length
 */
export function readLlama2c(bytes: Uint8Array): Llama2cModel {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < headerWords * 4) throw new FormatError('a llama2.c checkpoint has a header of 28 bytes');
  const header = Array.from({ length: headerWords }, (_, i) => view.getInt32(4 * i, true));
  const [dim, hidden, layers, heads, kvHeads, signedVocabulary, positions] = header as Seven;
  const config = {
    dim,
    hidden,
    layers,
    heads,
    kvHeads,
    vocabulary: Math.abs(signedVocabulary),
    positions,
    tied: signedVocabulary > 0,
  };
  if (Math.min(dim, hidden, layers, heads, kvHeads, config.vocabulary, positions) < 1 || dim % heads !== 0) {
    throw new FormatError(`this is not the header of a llama2.c checkpoint: ${header.join(', ')}`);
  }
  const headDim = dim / heads;
  const kvDim = headDim * kvHeads;

  let offset = headerWords * 4;
  const take = (...shape: number[]): Tensor<'f32'> => {
    const count = shape.reduce((product, size) => product * size, 1);
    if (offset + 4 * count > bytes.byteLength) {
      throw new FormatError(`the checkpoint ends at byte ${bytes.byteLength}; a tensor [${shape}] starts at ${offset}`);
    }
    const data = Float32Array.from({ length: count }, (_, i) => view.getFloat32(offset + 4 * i, true));
    offset += 4 * count;
    return tensor('f32', shape, data);
  };
  const tensors = new Map<string, Tensor<'f32'>>();
  const takeLayers = (name: string, shape: number[], convert: (x: Tensor<'f32'>) => Tensor<'f32'> = (x) => x) => {
    for (let layer = 0; layer < layers; layer++) {
      tensors.set(`model.layers.${layer}.${name}.weight`, convert(take(...shape)));
    }
  };

  tensors.set('model.embed_tokens.weight', take(config.vocabulary, dim));
  takeLayers('input_layernorm', [dim]);
  takeLayers('self_attn.q_proj', [dim, dim], (x) => halvesFromPairs(x, headDim));
  takeLayers('self_attn.k_proj', [kvDim, dim], (x) => halvesFromPairs(x, headDim));
  takeLayers('self_attn.v_proj', [kvDim, dim]);
  takeLayers('self_attn.o_proj', [dim, dim]);
  takeLayers('post_attention_layernorm', [dim]);
  takeLayers('mlp.gate_proj', [hidden, dim]);
  takeLayers('mlp.down_proj', [dim, hidden]);
  takeLayers('mlp.up_proj', [hidden, dim]);
  tensors.set('model.norm.weight', take(dim));
  // Tables of cosines and sines, which every reader computes itself.
  take(positions, headDim / 2);
  take(positions, headDim / 2);
  if (!config.tied) tensors.set('lm_head.weight', take(config.vocabulary, dim));
  if (offset !== bytes.byteLength) {
    throw new FormatError(`the checkpoint has ${bytes.byteLength} bytes; its header says ${offset}`);
  }
  return { config, tensors };
}

/**
 * Converts rows of a q or k projection from llama2.c's rotary layout (pairs 2j, 2j+1 of a head) to Hugging Face's
 * (pairs j, j + headDim/2).
 */
function halvesFromPairs({ shape, data }: Tensor<'f32'>, headDim: number): Tensor<'f32'> {
  const [rows, columns] = shape as [number, number];
  const half = headDim / 2;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const target = row - inHead + (inHead % 2 === 0 ? inHead / 2 : half + (inHead - 1) / 2);
    out.set(data.subarray(row * columns, (row + 1) * columns), target * columns);
  }
  return tensor('f32', shape, out);
}

type Seven = [number, number, number, number, number, number, number];

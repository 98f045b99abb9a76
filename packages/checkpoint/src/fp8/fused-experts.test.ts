import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom, e4m3, type Tensor, tensor } from '@q/core';
import { describeModel } from '@q/models';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../checkpoint.js';
import { writeModelFolder } from '../testing/tiny-llama.js';
import { valuesOf } from '../values-of.js';
import { fp8Layout } from './layout.js';

const [experts, hidden, intermediate] = [3, 20, 16];
const config = {
  architectures: ['Qwen3MoeForCausalLM'],
  model_type: 'qwen3_moe',
  hidden_size: hidden,
  intermediate_size: 32,
  moe_intermediate_size: intermediate,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 10,
  num_experts: experts,
  num_experts_per_tok: 2,
  vocab_size: 24,
  tie_word_embeddings: false,
};
const prefix = 'model.layers.0.mlp.experts';
const random = createRandom('fused experts in FP8');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-fused-fp8-'));
});
afterEach(() => rm(folder, { recursive: true }));

const fp8 = (...shape: number[]) =>
  tensor(
    'f8_e4m3',
    shape,
    // Every code but NaN: 0x7f and 0xff.
    Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.integer(127) + 128 * random.integer(2)),
  );
const scalesOf = (...shape: number[]) =>
  tensor(
    'f32',
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.uniform() + 0.25),
  );

interface Folder {
  readonly tile?: readonly [number, number];
  /** Rows and columns of the scales of an expert's `gate_up_proj` and `down_proj`. */
  readonly gateUp: readonly [number, number];
  readonly down: readonly [number, number];
}

/** A folder as transformers' `FP8Experts` holds it; gives the stacks that it wrote. */
async function write({ tile, gateUp, down }: Folder, more: Record<string, Tensor> = {}): Promise<Map<string, Tensor>> {
  const stacks = new Map<string, Tensor>([
    [`${prefix}.gate_up_proj`, fp8(experts, 2 * intermediate, hidden)],
    [`${prefix}.gate_up_proj_scale_inv`, scalesOf(experts, ...gateUp)],
    [`${prefix}.down_proj`, fp8(experts, hidden, intermediate)],
    [`${prefix}.down_proj_scale_inv`, scalesOf(experts, ...down)],
    ...Object.entries(more),
  ]);
  const others = [...describeModel(config).expected]
    .filter(([name]) => !name.startsWith(prefix))
    .map(([name, shape]) => [name, scalesOf(...shape)] as const);
  const quantization = {
    quant_method: 'fp8',
    activation_scheme: 'dynamic',
    ...(tile ? { weight_block_size: tile } : {}),
  };
  await writeModelFolder(folder, { ...config, quantization_config: quantization }, new Map([...others, ...stacks]));
  return stacks;
}

/** `code * scale` of an element of a stack in f64; `rows` and `columns` share a scale. */
function decoded(stacks: ReadonlyMap<string, Tensor>, name: string, [rows, columns]: readonly number[]) {
  const weight = stacks.get(`${prefix}.${name}`) as Tensor;
  const scales = stacks.get(`${prefix}.${name}_scale_inv`) as Tensor<'f32'>;
  return (expert: number, row: number, column: number) => {
    const code = (weight.data as Uint8Array)[(expert * weight.shape[1] + row) * weight.shape[2] + column];
    const at = [Math.floor(row / rows), Math.floor(column / columns)];
    return e4m3.decode(code) * scales.data[(expert * scales.shape[1] + at[0]) * scales.shape[2] + at[1]];
  };
}

const granularities: readonly (Folder & {
  readonly name: string;
  readonly shared: Record<'gateUp' | 'down', number[]>;
})[] = [
  // Columns do not fill whole tiles.
  {
    ...{ name: 'tiles', tile: [8, 8], gateUp: [4, 3], down: [3, 2] },
    shared: { gateUp: [8, 8], down: [8, 8] },
  },
  {
    ...{ name: 'one tile for gate and up', tile: [128, 8], gateUp: [1, 3], down: [1, 2] },
    shared: { gateUp: [128, 8], down: [128, 8] },
  },
  {
    ...{ name: 'rows', gateUp: [2 * intermediate, 1], down: [hidden, 1] },
    shared: { gateUp: [1, hidden], down: [1, intermediate] },
  },
  { ...{ name: 'experts', gateUp: [1, 1], down: [1, 1] }, shared: { gateUp: [99, 99], down: [99, 99] } },
  {
    ...{ name: 'gate and up', gateUp: [2, 1], down: [1, 1] },
    shared: { gateUp: [intermediate, hidden], down: [99, 99] },
  },
];

describe('experts in FP8 tensors of three dimensions', () => {
  it.each(granularities)('have the values of code times scale: scales of $name', async ({ shared, ...stored }) => {
    const stacks = await write(stored);
    const checkpoint = await openCheckpoint(folder, [fp8Layout()]);
    const values = valuesOf(checkpoint);
    const [gateUp, down] = [decoded(stacks, 'gate_up_proj', shared.gateUp), decoded(stacks, 'down_proj', shared.down)];
    expect(checkpoint.quantizedModules).toHaveLength(3 * experts);
    for (let expert = 0; expert < experts; expert++)
      for (const [name, [rows, columns], at] of [
        ['gate_proj', [intermediate, hidden], gateUp],
        [
          'up_proj',
          [intermediate, hidden],
          (e: number, row: number, column: number) => gateUp(e, row + intermediate, column),
        ],
        ['down_proj', [hidden, intermediate], down],
      ] as const) {
        const weight = `${prefix}.${expert}.${name}.weight`;
        const { shape, data } = await checkpoint.weight(weight);
        expect(shape).toEqual([rows, columns]);
        const expected = Float32Array.from({ length: rows * columns }, (_, i) =>
          at(expert, Math.floor(i / columns), i % columns),
        );
        expect(data).toEqual(expected);
        expect((await values.read(weight)).data).toEqual(expected);
      }
    await checkpoint.close();
  });

  it('leave scales of inputs out of their values', async () => {
    const numbers = scalesOf(experts);
    await write(granularities[0], {
      [`${prefix}.gate_up_proj_activation_scale`]: numbers,
      [`${prefix}.down_proj_activation_scale`]: numbers,
    });
    const checkpoint = await openCheckpoint(folder, [fp8Layout()]);
    for (const part of ['gate_proj', 'up_proj', 'down_proj'])
      expect((await checkpoint.read(`${prefix}.1.${part}.activation_scale`)).data).toEqual(numbers.data.slice(1, 2));
    const names = [...valuesOf(checkpoint).tensors.keys()].filter((name) => name.startsWith(prefix));
    expect(names.every((name) => name.endsWith('_proj.weight'))).toBe(true);
    await checkpoint.close();
  });

  it.each([
    // 16 rows of the gate in tiles of 12 rows: the second tile has rows of both.
    [
      'a tile that has rows of gate and up',
      { tile: [12, 8], gateUp: [3, 3], down: [2, 2] },
      /scale_inv has shape \[3,3,3\].*in tiles of 12 rows/,
    ],
    [
      'rows that are no tiles',
      { tile: [8, 8], gateUp: [2, 3], down: [3, 2] },
      /gate_up_proj_scale_inv has shape \[3,2,3\]/,
    ],
    ['tiles without a size in the config', { gateUp: [4, 3], down: [3, 2] }, /gate_up_proj_scale_inv has shape/],
  ] as const)('are refused by name: %s', async (_name, stored, message) => {
    await write(stored);
    await expect(openCheckpoint(folder, [fp8Layout()])).rejects.toThrow(message);
  });

  it('are refused by name where scales have an unknown name or type, or codes are packed', async () => {
    const open = () => openCheckpoint(folder, [fp8Layout()]);
    const stacks = await write(granularities[0]);
    const all = new Map(stacks);
    const others = [...describeModel(config).expected]
      .filter(([name]) => !name.startsWith(prefix))
      .map(([name, shape]) => [name, scalesOf(...shape)] as const);
    const settings = { ...config, quantization_config: { quant_method: 'fp8', weight_block_size: [8, 8] } };
    const rewrite = (edit: (tensors: Map<string, Tensor>) => void) => {
      const tensors = new Map<string, Tensor>([...others, ...all]);
      edit(tensors);
      return writeModelFolder(folder, settings, tensors);
    };
    const scale = `${prefix}.gate_up_proj_scale_inv`;
    await rewrite((tensors) => {
      tensors.set(`${prefix}.gate_up_proj_scale`, tensors.get(scale) as Tensor);
      tensors.delete(scale);
    });
    await expect(open()).rejects.toThrow(/experts\.0\.gate_proj\.weight of dtype F8_E4M3/);
    await rewrite((tensors) => tensors.set(scale, tensor('u8', [experts, 4, 3], new Uint8Array(36).fill(127))));
    const opened = await open();
    await expect(opened.weight(`${prefix}.0.up_proj.weight`)).rejects.toThrow(
      /up_proj\.weight_scale_inv: has dtype u8/,
    );
    await opened.close();
    const packed = tensor(
      'i8',
      [experts, 2 * intermediate, hidden / 2],
      new Int8Array(experts * intermediate * hidden),
    );
    await rewrite((tensors) => tensors.set(`${prefix}.gate_up_proj`, packed));
    await expect(open()).rejects.toThrow(/gate_up_proj has shape \[3,32,10\]/);
  });
});

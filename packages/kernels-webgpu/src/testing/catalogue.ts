import { gpuShapes, processorShapes } from '../device/shapes.js';
import { bitwiseProduct } from '../wgsl/bitwise-product.js';
import { dequantizeWeights } from '../wgsl/dequantize.js';
import { gatherColumns } from '../wgsl/gather-columns.js';
import { gptqSweep } from '../wgsl/gptq-sweep.js';
import { hadamardSpan, hadamardStep } from '../wgsl/hadamard.js';
import { int8Product } from '../wgsl/int8-product.js';
import { kvAttention } from '../wgsl/kv-attention.js';
import { affineLayout } from '../wgsl/layouts/affine.js';
import { float8Layout } from '../wgsl/layouts/float8.js';
import { q4kLayout } from '../wgsl/layouts/q4k.js';
import { tableLayout } from '../wgsl/layouts/table.js';
import type { KernelSource } from '../wgsl/module.js';
import { addOutliers, listOutliers, markOutliers } from '../wgsl/outlier-columns.js';
import { quantizeGroups } from '../wgsl/quantize-groups.js';
import { quantizeRows } from '../wgsl/quantize-rows.js';
import { repackAwq, repackGptq, repackQ4_0, repackQ8_0 } from '../wgsl/repack.js';
import { type Lanes, shuffleProduct } from '../wgsl/shuffle-product.js';
import { denseOperand, tileProduct } from '../wgsl/tile-product.js';
import { vectorProduct } from '../wgsl/vector-product.js';

const dense = (transposed: boolean, vector: boolean) => ({
  a: denseOperand('a', 'm', { transposed, vector }),
  b: denseOperand('b', 'n', { transposed, vector }),
});
const affine4 = affineLayout({ bits: 4, groupSize: 128, scales: 'half' });
const prompt = (label: string, b = affine4, f16 = false) =>
  tileProduct({ label, a: dense(false, true).a, b, f16, tile: f16 ? gpuShapes.quantized : processorShapes.quantized });
const shuffled = (tokens: number, lanes: Lanes) =>
  shuffleProduct({
    label: `affine 4-bit: ${tokens} tokens`,
    b: affine4,
    tokens,
    shape: processorShapes.shuffle!,
    lanes,
  });

/** One of every kernel and variant. The snapshots have their text, and every machine compiles them. */
export const catalogue: Readonly<Record<string, KernelSource>> = {
  matmul: tileProduct({ label: 'matmul', ...dense(false, true) }),
  'matmul-transposed': tileProduct({ label: 'matmul A^T', ...dense(true, false), accumulate: true }),
  gram: tileProduct({
    label: 'gram',
    a: dense(true, false).a,
    b: { bindings: [], code: 'fn load_b(row: u32, k: u32) -> vec4f {\n  return load_a(row, k);\n}' },
    symmetric: true,
  }),
  'int8-packed-dot': int8Product({ packedDot: true, output: 'i32' }),
  'int8-plain': int8Product({ packedDot: false, output: 'f32' }),
  'hadamard-span': hadamardSpan(256, 64),
  'hadamard-step': hadamardStep(),
  'gptq-sweep-linear': gptqSweep({ kind: 'linear', min: 0, max: 15 }),
  'gptq-sweep-levels': gptqSweep({
    kind: 'levels',
    levels: Float32Array.of(-1, -0.5, 0, 0.3, 1),
    codes: Uint8Array.of(9, 3, 2, 1, 0),
  }),
  'prefill-affine4': prompt('affine 4-bit'),
  'prefill-affine4-f16': prompt('affine 4-bit, f16', affine4, true),
  'prefill-affine2': prompt('affine 2-bit', affineLayout({ bits: 2, groupSize: 64, scales: 'float' })),
  'prefill-affine8': prompt('affine 8-bit', affineLayout({ bits: 8, groupSize: 32, scales: 'half' })),
  'prefill-nf4': prompt('nf4', tableLayout({ first: 'high', scales: 'f32', index: { kind: 'flat', size: 64 } })),
  'prefill-mxfp4': prompt('mxfp4', tableLayout({ first: 'low', scales: 'e8m0', index: { kind: 'group', size: 32 } })),
  'prefill-nvfp4': prompt('nvfp4', tableLayout({ first: 'low', scales: 'e4m3', index: { kind: 'group', size: 16 } })),
  'prefill-fp8-block': prompt(
    'fp8 blocks',
    float8Layout({ format: 'e4m3', scales: 'f32', index: { kind: 'block', rows: 128, columns: 128 } }),
  ),
  'prefill-fp8-e5m2': prompt('e5m2', float8Layout({ format: 'e5m2', scales: 'f32', index: { kind: 'channel' } })),
  'prefill-q4k': prompt('q4_k', q4kLayout),
  'decode-affine4': vectorProduct({
    label: 'decode',
    b: affine4,
    tokens: 1,
    shape: gpuShapes.vector,
    subgroups: false,
  }),
  'decode-affine4-subgroups': vectorProduct({
    label: 'decode',
    b: affine4,
    tokens: 4,
    shape: processorShapes.vector,
    subgroups: true,
  }),
  'shuffled-affine4-decode': shuffled(1, 4),
  'shuffled-affine4-prompt': shuffled(8, 8),
  dequantize: dequantizeWeights('affine 4-bit', affine4),
  'gather-columns': gatherColumns(),
  'quantize-groups': quantizeGroups(),
  'quantize-rows': quantizeRows({ outliers: false }),
  'quantize-rows-without-outliers': quantizeRows({ outliers: true }),
  'outliers-mark': markOutliers(),
  'outliers-list': listOutliers(),
  'outliers-add': addOutliers(),
  'product-of-signs': bitwiseProduct('signs'),
  'product-of-bits': bitwiseProduct('bits'),
  'product-of-ternary': bitwiseProduct('ternary'),
  'attention-int8': kvAttention({
    headDim: 64,
    keys: { bits: 8, along: 'channels', size: 64 },
    values: { bits: 8, along: 'channels', size: 64 },
  }),
  'attention-kivi2': kvAttention({
    headDim: 64,
    keys: { bits: 2, along: 'tokens', size: 32 },
    values: { bits: 2, along: 'channels', size: 32 },
  }),
  'attention-kivi3': kvAttention({
    headDim: 64,
    keys: { bits: 3, along: 'tokens', size: 32 },
    values: { bits: 3, along: 'channels', size: 32 },
  }),
  'repack-gptq3': repackGptq(3),
  'repack-gptq4': repackGptq(4),
  'repack-awq': repackAwq(),
  'repack-q4_0': repackQ4_0(),
  'repack-q8_0': repackQ8_0(),
};

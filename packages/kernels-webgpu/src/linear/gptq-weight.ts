import { encodeF16, FormatError, ShapeError } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { affineLayout } from '../wgsl/layouts/affine.js';
import { repackGptq, repackInvocations } from '../wgsl/repack.js';
import { checkGroups } from './affine-weight.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

/** The tensors of a GPTQ linear with the values of the file (docs/reference/file-formats.md#tensors-of-gptq). */
export interface GptqWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly bits: 2 | 3 | 4 | 8;
  /** -1: one group with all inputs. */
  readonly groupSize: number;
  /** `[in * bits / 32, out]` */
  readonly qweight: Int32Array | Uint32Array;
  /** `[groups, out * bits / 32]` */
  readonly qzeros: Int32Array | Uint32Array;
  /** `[groups, out]`, bit patterns of f16. */
  readonly scales: Uint16Array;
  /** `[in]`: group of each input; absent: `floor(i / groupSize)`. */
  readonly gIdx?: Int32Array;
  /** `gptq` stores zeros minus one, `gptq_v2` stores zeros (docs/reference/file-formats.md#zero-points-of-gptq). */
  readonly checkpointFormat: 'gptq' | 'gptq_v2';
}

/** Words are uploaded unchanged and repacked on the device. With act-order the inputs of a group become adjacent. */
export async function gptqWeight(gpu: Gpu, weight: GptqWeight): Promise<GpuWeight> {
  const { outFeatures, inFeatures, bits, qweight, qzeros, scales, checkpointFormat } = weight;
  const groupSize = weight.groupSize === -1 ? inFeatures : weight.groupSize;
  const label = `gptq ${bits}-bit g${weight.groupSize}`;
  checkGroups(label, groupSize);
  if ((inFeatures * bits) % 32 !== 0 || (outFeatures * bits) % 32 !== 0) {
    throw new ShapeError(
      `${label}: [${outFeatures}, ${inFeatures}] does not fill whole words of 32 bits in both directions`,
    );
  }
  const groups = Math.ceil(inFeatures / groupSize);
  const zeroWords = (outFeatures * bits) / 32;
  needLength(label, 'qweight', qweight, ((inFeatures * bits) / 32) * outFeatures);
  needLength(label, 'qzeros', qzeros, groups * zeroWords);
  needLength(label, 'scales', scales, groups * outFeatures);
  const order = inputOrder(label, weight, groupSize, groups);
  const identity = Uint32Array.from({ length: inFeatures }, (_, i) => i);
  const wide = bits === 3 ? 4 : bits;
  const add = checkpointFormat === 'gptq' ? 1 : 0;
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: affineLayout({ bits: wide, groupSize, scales: 'half' }),
    rowBytes: Math.max((inFeatures * wide) / 8, 4 * groups),
    rowMultiple: 2,
    order,
    async upload({ start, size }) {
      const pairs = new Uint16Array(2 * size * groups);
      const zeros = new Float32Array(size * groups);
      for (let row = 0; row < size; row++) {
        for (let g = 0; g < groups; g++) {
          // v1 wraps within the field: a stored 2^bits - 1 is zero 0.
          zeros[row * groups + g] = (codeAt(qzeros, g * zeroWords, start + row, bits) + add) & (2 ** bits - 1);
        }
      }
      const halves = encodeF16(zeros);
      for (let row = 0; row < size; row++) {
        for (let g = 0; g < groups; g++) {
          const at = 2 * (row * groups + g);
          pairs[at] = scales[g * outFeatures + start + row];
          pairs[at + 1] = halves[row * groups + g];
        }
      }
      const source = gpu.buffers.upload(columnsOf(qweight, outFeatures, start, size), `${label}: qweight`);
      const positions = gpu.buffers.upload(order ?? identity, `${label}: order`);
      const codes = gpu.buffers.create((size * inFeatures * wide) / 8, `${label}: codes`);
      try {
        const count = (size * inFeatures * wide) / 32;
        await gpu.run([
          await gpu.prepare(
            repackGptq(bits),
            { n: size, k: inFeatures },
            [source, positions, codes],
            linearWorkgroups(gpu, count, repackInvocations),
          ),
        ]);
      } catch (error) {
        gpu.buffers.free(codes);
        throw error;
      } finally {
        gpu.buffers.free(source, positions);
      }
      return [codes, gpu.buffers.upload(pairs, `${label}: scales`)];
    },
  });
}

/** Inputs sorted by group, stably; undefined if they are in this order already. */
function inputOrder(label: string, weight: GptqWeight, groupSize: number, groups: number): Uint32Array | undefined {
  const { gIdx, inFeatures } = weight;
  if (!gIdx) return undefined;
  needLength(label, 'g_idx', gIdx, inFeatures);
  if (gIdx.every((g, i) => g === Math.floor(i / groupSize))) return undefined;
  const counts = new Uint32Array(groups);
  for (const g of gIdx) {
    if (g < 0 || g >= groups) throw new FormatError(`${label}: g_idx names group ${g}, there are ${groups}`);
    counts[g]++;
  }
  const wrong = counts.findIndex((count, g) => count !== Math.min(groupSize, inFeatures - g * groupSize));
  if (wrong >= 0) {
    throw new FormatError(
      `${label}: group ${wrong} of g_idx has ${counts[wrong]} inputs, ${groupSize} were expected: regroup the weight first`,
    );
  }
  const order = Uint32Array.from({ length: inFeatures }, (_, i) => i);
  return order.sort((a, b) => gIdx[a] - gIdx[b] || a - b);
}

/** Code `i` of a stream of `bits` each, from word `first` on. */
function codeAt(words: Int32Array | Uint32Array, first: number, i: number, bits: number): number {
  const at = i * bits;
  const shift = at % 32;
  let code = words[first + Math.floor(at / 32)] >>> shift;
  if (shift + bits > 32) code |= words[first + Math.floor(at / 32) + 1] << (32 - shift);
  return code & (2 ** bits - 1);
}

/** Columns of a matrix of words; the matrix itself if these are all columns. */
export function columnsOf(
  words: Int32Array | Uint32Array,
  columns: number,
  start: number,
  size: number,
): Int32Array | Uint32Array {
  if (size === columns) return words;
  const rows = words.length / columns;
  const out = new Uint32Array(rows * size);
  for (let row = 0; row < rows; row++) {
    out.set(words.subarray(row * columns + start, row * columns + start + size), row * size);
  }
  return out;
}

import { encodeF16, ShapeError } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { affineLayout } from '../wgsl/layouts/affine.js';
import { repackAwq, repackInvocations } from '../wgsl/repack.js';
import { checkGroups } from './affine-weight.js';
import { columnsOf } from './gptq-weight.js';
import { type GpuWeight, needLength, uploadWeight } from './gpu-weight.js';

/** The tensors of an AutoAWQ `gemm` linear with the values of the file (docs/reference/file-formats.md#awq). */
export interface AwqWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly groupSize: number;
  /** `[in, out / 8]` */
  readonly qweight: Int32Array | Uint32Array;
  /** `[groups, out / 8]` */
  readonly qzeros: Int32Array | Uint32Array;
  /** `[groups, out]`, bit patterns of f16. */
  readonly scales: Uint16Array;
}

/** The nibble of a word that has output `j % 8`. */
const nibbleOf = [0, 4, 1, 5, 2, 6, 3, 7];

/** Words are uploaded unchanged and repacked on the device. */
export async function awqWeight(gpu: Gpu, weight: AwqWeight): Promise<GpuWeight> {
  const { outFeatures, inFeatures, groupSize, qweight, qzeros, scales } = weight;
  const label = `awq 4-bit g${groupSize}`;
  checkGroups(label, groupSize);
  if (outFeatures % 8 !== 0)
    throw new ShapeError(`${label}: ${outFeatures} outputs are not a multiple of 8, the outputs of a word`);
  const groups = Math.ceil(inFeatures / groupSize);
  const columns = outFeatures / 8;
  needLength(label, 'qweight', qweight, inFeatures * columns);
  needLength(label, 'qzeros', qzeros, groups * columns);
  needLength(label, 'scales', scales, groups * outFeatures);
  return uploadWeight(gpu, {
    name: label,
    outFeatures,
    inFeatures,
    layout: affineLayout({ bits: 4, groupSize, scales: 'half' }),
    rowBytes: Math.max(inFeatures / 2, 4 * groups),
    rowMultiple: 8,
    async upload({ start, size }) {
      const zeros = new Float32Array(size * groups);
      for (let row = 0; row < size; row++) {
        const j = start + row;
        for (let g = 0; g < groups; g++) {
          zeros[row * groups + g] = (qzeros[g * columns + (j >> 3)] >>> (4 * nibbleOf[j & 7])) & 15;
        }
      }
      const halves = encodeF16(zeros);
      const pairs = new Uint16Array(2 * size * groups);
      for (let row = 0; row < size; row++) {
        for (let g = 0; g < groups; g++) {
          pairs[2 * (row * groups + g)] = scales[g * outFeatures + start + row];
          pairs[2 * (row * groups + g) + 1] = halves[row * groups + g];
        }
      }
      const source = gpu.buffers.upload(columnsOf(qweight, columns, start / 8, size / 8), `${label}: qweight`);
      const codes = gpu.buffers.create((size * inFeatures) / 2, `${label}: codes`);
      try {
        const groupsOfWork = linearWorkgroups(gpu, (size * inFeatures) / 8, repackInvocations);
        await gpu.run([await gpu.prepare(repackAwq(), { n: size, k: inFeatures }, [source, codes], groupsOfWork)]);
      } catch (error) {
        gpu.buffers.free(codes);
        throw error;
      } finally {
        gpu.buffers.free(source);
      }
      return [codes, gpu.buffers.upload(pairs, `${label}: scales`)];
    },
  });
}

import { type HadamardArgs, ShapeError } from '@q/core';
import { type Dispatch, type Gpu, linearWorkgroups } from '../device/gpu.js';
import { hadamardInvocations, hadamardSpan, hadamardStep } from '../wgsl/hadamard.js';
import { ranges } from './slices.js';

/** The largest power of two of f32 values that fits into the workgroup memory of every device (16 kB). */
const largestSpan = 4096;

/** Dispatches, in order, that transform `values` on the device in consecutive chunks of `size`. */
async function hadamardDispatches(gpu: Gpu, x: GPUBuffer, values: number, size: number): Promise<Dispatch[]> {
  const inner = Math.min(size, largestSpan);
  const span = Math.max(inner, 256);
  const norm = 1 / Math.sqrt(size);
  const parameters = { values, factor: inner === size ? norm : 1 };
  const first = await gpu.prepare(hadamardSpan(span, inner), parameters, [x], linearWorkgroups(gpu, values, span));
  const dispatches = [first];
  for (let half = inner; half < size; half *= 2) {
    dispatches.push(
      await gpu.prepare(
        hadamardStep(),
        { pairs: values / 2, half, factor: 2 * half === size ? norm : 1 },
        [x],
        linearWorkgroups(gpu, values / 2, hadamardInvocations),
      ),
    );
  }
  return dispatches;
}

export async function hadamard(gpu: Gpu, { x, rows, columns, size }: HadamardArgs): Promise<void> {
  if (size < 1 || (size & (size - 1)) !== 0 || columns % size !== 0) {
    throw new ShapeError(`a Hadamard transform of size ${size} needs a power of two that divides ${columns} columns`);
  }
  if (size === 1) return;
  for (const { start, size: count } of ranges((rows * columns) / size, gpu.buffers.largest / 4 / size)) {
    const part = x.subarray(start * size, (start + count) * size);
    const buffer = gpu.buffers.upload(part, `a Hadamard transform of size ${size}`);
    try {
      await gpu.run(await hadamardDispatches(gpu, buffer, part.length, size), { from: buffer, into: part });
    } finally {
      gpu.buffers.free(buffer);
    }
  }
}

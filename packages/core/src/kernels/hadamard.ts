import { ShapeError } from '../contracts/errors.js';
import type { HadamardArgs } from '../contracts/kernels.js';

/** Reference fast Walsh-Hadamard transform, orthonormal: its own inverse. */
export function hadamard({ x, rows, columns, size }: HadamardArgs): void {
  if (size < 1 || (size & (size - 1)) !== 0 || columns % size !== 0) {
    throw new ShapeError(`a Hadamard transform of size ${size} needs a power of two that divides ${columns} columns`);
  }
  const norm = 1 / Math.sqrt(size);
  for (let start = 0; start < rows * columns; start += size) {
    for (let half = 1; half < size; half *= 2) {
      for (let i = start; i < start + size; i += 2 * half) {
        for (let j = i; j < i + half; j++) {
          const a = x[j];
          const b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
    for (let i = start; i < start + size; i++) x[i] *= norm;
  }
}

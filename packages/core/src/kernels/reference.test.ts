import { describe, it } from 'vitest';
import { kernelConformance } from './conformance.js';
import { referenceKernels } from './reference.js';

describe('reference kernels', () => {
  for (const { name, run } of kernelConformance) it(name, () => run(referenceKernels));
});

import { describe, it } from 'vitest';
import { kernelConformance } from './conformance.js';
import { plainStream } from './plain-stream.js';
import { referenceKernels } from './reference.js';
import { streamConformance } from './stream-conformance.js';

describe('reference kernels', () => {
  for (const { name, run } of kernelConformance) it(name, () => run(referenceKernels));
});

describe('plain functions in place of stream kernels', () => {
  for (const { name, run } of streamConformance) it(name, () => run(plainStream));
});

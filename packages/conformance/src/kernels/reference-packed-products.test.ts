import { referenceKvAttention, referencePackedProducts } from '@q/core';
import { describe, it } from 'vitest';
import { kvAttentionConformance, packedInt8Conformance, packedProductConformance } from './packed-conformance.js';

describe('reference of packed products and attention', () => {
  for (const { name, run } of packedProductConformance) it(name, () => run(referencePackedProducts.load));
  for (const { name, run } of packedInt8Conformance) it(name, () => run(referencePackedProducts));
  for (const { name, run } of kvAttentionConformance) it(name, () => run(referenceKvAttention));
});

import { kvAttentionConformance } from '@q/conformance';
import { afterAll, describe, expect, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { gpuKvAttention } from './kv-cache-attention.js';

const found = await openDawn();
afterAll(() => found?.close());

describe.runIf(found)('attention over a quantized cache', () => {
  if (!found) return;
  const gpu = openGpu(found);
  for (const { name, run } of kvAttentionConformance) {
    it(name, async () => {
      await run((args) => gpuKvAttention(gpu, args));
      expect(gpu.buffers.bytes).toBe(0);
    });
  }
});

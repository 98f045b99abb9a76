import { bf16Absence, createEngine } from '@q/tfjs';
import { expect, it, vi } from 'vitest';

it('tfjs-node first and the others after it say nothing on the console', async () => {
  const said = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'log')];
  for (const backend of ['node', 'wasm', 'cpu'] as const) {
    const { ops } = await createEngine({ backend });
    const x = ops.fromF32(Float32Array.of(1, 2, 3, 4), [2, 2]);
    // [[1, 2], [3, 4]] times its transpose.
    expect([...ops.dataSync(ops.linear(x, x))]).toEqual([5, 11, 11, 25]);
  }
  for (const spy of said) expect(spy.mock.calls).toEqual([]);
});

it.skipIf(bf16Absence())('after products in f32 a process has none in bf16', async () => {
  await createEngine({ backend: 'node' });
  await expect(createEngine({ backend: 'node-bf16' })).rejects.toThrow(/has started with products in f32/);
});

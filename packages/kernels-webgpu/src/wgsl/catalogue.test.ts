import { afterAll, describe, expect, it } from 'vitest';
import { plainCapabilities } from '../device/capabilities.js';
import { createPipelineCache } from '../device/pipeline-cache.js';
import { catalogue } from '../testing/catalogue.js';
import { openDawn } from '../testing/dawn.js';

const entries = Object.entries(catalogue);

describe('the text of a kernel', () => {
  it.each(entries)('%s is the reviewed one', async (name, { code }) => {
    await expect(code).toMatchFileSnapshot(`./snapshots/${name}.wgsl`);
  });
});

/** Dawn's `null` device compiles and validates, within the limits that every device has, and needs no driver. */
describe('the compiler of Dawn', async () => {
  const all = await openDawn({ backend: 'null' });
  const bare = await openDawn({ backend: 'null', features: [] });
  afterAll(() => {
    all?.close();
    bare?.close();
  });

  it.each(entries)('accepts %s', async (_, source) => {
    await createPipelineCache(all!.device).get(source);
  });

  it('needs no feature for the plain variants', async () => {
    expect(plainCapabilities).toEqual({ f16: false, subgroups: false, packedDot: false });
    const plain = entries.filter(([, { code }]) => !/^enable /m.test(code));
    expect(plain.length).toBe(entries.length - 4);
    for (const [, source] of plain) await createPipelineCache(bare!.device).get(source);
  });

  it('is quoted when it refuses', async () => {
    const broken = { ...catalogue.matmul, code: catalogue.matmul.code.replace('tile_a[', 'tile_x[') };
    await expect(createPipelineCache(bare!.device).get(broken)).rejects.toThrow(
      /refuses kernel matmul, line \d+: .*tile_x/s,
    );
    await expect(createPipelineCache(bare!.device).get(catalogue['prefill-affine4-f16'])).rejects.toThrow('f16');
  });
});

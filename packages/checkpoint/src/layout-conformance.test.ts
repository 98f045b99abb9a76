import { layoutConformance } from '@q/conformance';
import { schemes } from '@q/core';
import { describe, expect, it } from 'vitest';
import { gptqLayout } from './gptq/layout.js';
import { plainLayout } from './plain/layout.js';

const uint4g32 = schemes.integer(4, { groupSize: 32, zeroPoint: 'integer' });
describe('layouts', () => {
  for (const { name, run } of layoutConformance([uint4g32, schemes.integer(8)])) it(name, () => run(gptqLayout()));
  for (const { name, run } of layoutConformance([
    uint4g32,
    schemes.nf4,
    schemes.mxfp4,
    schemes.nvfp4,
    schemes.fp8RowWise,
  ]))
    it(`plain, ${name}`, () => run(plainLayout()));
});

it('the battery finds a layout that loses a code', async () => {
  const plain = plainLayout();
  const lossy = {
    ...plain,
    encode: (module: never, quantized: { codes: Uint8Array }) =>
      plain.encode(module, { ...quantized, codes: quantized.codes.map((code) => code & 14) } as never),
  };
  const [{ run }] = layoutConformance([schemes.integer(4, { groupSize: 32 })]);
  await expect(run(lossy as never)).rejects.toThrow('the codes that were read are other ones');
});

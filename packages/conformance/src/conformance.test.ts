import { awq } from '@q/awq';
import {
  absMaxStat,
  builtinFormats,
  hessian,
  int4,
  meanAbs,
  meanSquare,
  type NumberFormat,
  type Quantizer,
} from '@q/core';
import { gptq } from '@q/gptq';
import { hqq } from '@q/hqq';
import { rtn } from '@q/rtn';
import { smoothquant } from '@q/smoothquant';
import { describe, expect, it } from 'vitest';
import { numberFormatConformance, quantizerConformance, statisticConformance, transformConformance } from './index.js';

describe.each<[string, () => Quantizer]>([
  ['rtn', () => rtn()],
  ['gptq', () => gptq()],
  ['gptq as published', () => gptq({ actOrder: false, refineRounds: 0, retarget: 0 })],
])('%s', (_name, make) => {
  for (const { name, run } of quantizerConformance()) it(name, () => run(make()));
});

describe('hqq, which minimises another norm', () => {
  for (const { name, run } of quantizerConformance({ largestError: 1.5 })) it(name, () => run(hqq()));
});

describe.each(builtinFormats.filter(({ bits }) => bits <= 8).map((format) => [format.name, format] as const))(
  '%s',
  (_name, format) => {
    for (const { name, run } of numberFormatConformance) it(name, () => run(format));
  },
);

describe.each([hessian, absMaxStat, meanAbs, meanSquare].map((statistic) => [statistic.name, statistic] as const))(
  '%s',
  (_name, statistic) => {
    for (const { name, run } of statisticConformance) it(name, () => run(statistic));
  },
);

describe('transforms', () => {
  for (const { name, run } of transformConformance()) {
    it(`awq: ${name}`, () => run(awq({ clip: false })));
    it(`smoothquant: ${name}`, () => run(smoothquant()));
  }
});

describe('the batteries find', () => {
  const fails = async (checks: readonly { run(part: any): unknown }[], part: unknown) => {
    const found = await Promise.allSettled(checks.map(async ({ run }) => run(part)));
    return found.some(({ status }) => status === 'rejected');
  };

  it('a quantizer that is worse than round to nearest, changes its input or is random', async () => {
    const good = rtn();
    const broken = (change: Partial<Quantizer>) => ({ ...good, ...change });
    const worse = broken({
      async quantize(weight, statistics, of, context) {
        const result = await good.quantize(weight, statistics, of, context);
        return { ...result, quantized: { ...result.quantized, codes: result.quantized.codes.map((c) => c ^ 1) } };
      },
    });
    const greedy = broken({
      async quantize(weight, ...rest) {
        weight.data[0] += 1;
        return good.quantize(weight, ...rest);
      },
    });
    for (const quantizer of [worse, greedy]) expect(await fails(quantizerConformance(), quantizer)).toBe(true);
    expect(await fails(quantizerConformance(), good)).toBe(false);
  });

  it('a format that truncates', async () => {
    const truncating: NumberFormat = { ...int4, encode: (x) => int4.encode(Math.trunc(x)) };
    expect(await fails(numberFormatConformance, truncating)).toBe(true);
  });
});

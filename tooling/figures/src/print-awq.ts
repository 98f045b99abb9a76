/**
 * `pnpm figures:awq [MODEL ...] [--bits 4,3,2] [--groups=64,-1] [--samples 128] [--windows 60] [--variants 'a;b']`
 * compares AWQ by both objectives, with and without clipping, with round-to-nearest, HQQ and GPTQ: KL on held-out
 * windows, and time.
 */
import { parseArgs } from 'node:util';
import { type AwqOptions, awq } from '@q/awq';
import { gptqLayout, plainLayout } from '@q/checkpoint';
import { type ModelStep, minMax, type Quantizer, type Transform } from '@q/core';
import { gptq } from '@q/gptq';
import { hqq } from '@q/hqq';

import { rtn } from '@q/rtn';
import { figureKernels } from './figure-kernels.js';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { firstWindows, openSubject, subjectGroups } from './subject.js';
import { unbiased } from './unbiased.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    groups: { type: 'string' },
    samples: { type: 'string', default: '128' },
    windows: { type: 'string', default: '60' },
    variants: { type: 'string' },
  },
});

interface Variant {
  readonly quantizer: Quantizer;
  readonly awq?: AwqOptions;
  /** Clips the original weights: no edge is scaled. */
  readonly clipAlone?: boolean;
  /** Float zero points, in the layout that can hold them. */
  readonly plain?: boolean;
}
const range = rtn({ fit: minMax() });
const variants: Readonly<Record<string, Variant>> = {
  rtn: { quantizer: range },
  'rtn, search': { quantizer: rtn() },
  'rtn, search, unbiased': { quantizer: unbiased(rtn()) },
  'hqq, whole zero points': { quantizer: hqq() },
  'hqq, float zero points': { quantizer: hqq(), plain: true },
  'awq, module': { quantizer: range, awq: { objective: 'module' } },
  'awq, module, no clip': { quantizer: range, awq: { objective: 'module', clip: false } },
  'awq, layer': { quantizer: range, awq: {} },
  'awq, layer, no clip': { quantizer: range, awq: { clip: false } },
  'clip alone': { quantizer: range, clipAlone: true },
  'awq, every ratio': { quantizer: range, awq: { exhaustive: true } },
  gptq: { quantizer: gptq() },
  'awq + gptq': { quantizer: gptq(), awq: { clip: false } },
};
const clipping: Transform = { ...awq(), apply: (input, context) => awq().apply({ ...input, edges: [] }, context) };
const wanted = values.variants?.split(';') ?? Object.keys(variants);
const kernels = await figureKernels();
console.log('model     bits group  variant                       perplexity         KL  seconds');
for (const name of positionals.length > 0 ? positionals : Object.keys(subjectGroups)) {
  const subject = firstWindows(await openSubject(name), Number(values.samples), Number(values.windows));
  for (const bits of values.bits.split(',').map(Number)) {
    for (const group of values.groups?.split(',').map(Number) ?? [subjectGroups[name] ?? 64, -1]) {
      for (const variant of wanted) {
        const { quantizer, awq: options, clipAlone, plain } = variants[variant];
        const scheme = asymmetric(bits, group);
        const transforms: ModelStep[] = options ? [awq(options)] : clipAlone ? [clipping] : [];
        const { perplexity, kl, seconds } = await measureRecipe(
          subject,
          quantizer,
          plain ? { ...scheme, zeroPoint: 'float' } : scheme,
          kernels,
          { transforms, layout: plain ? plainLayout() : gptqLayout() },
        );
        console.log(
          `${name.padEnd(9)} ${`${bits}`.padStart(4)} ${`${group}`.padStart(5)}  ${variant.padEnd(28)} ${perplexity.toFixed(4).padStart(11)} ${kl.toFixed(6).padStart(10)}  ${seconds.toFixed(1).padStart(7)}`,
        );
      }
    }
  }
}
await kernels.dispose();

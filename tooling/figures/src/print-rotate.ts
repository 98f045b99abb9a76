/**
 * `pnpm figures:rotate [MODEL ...] [--bits 4,3,2] [--methods rtn,gptq] [--variants none,r1,r2,r1+r2] [--seeds 0,1]
 * [--groups=-1,64] [--samples 128]` prints the effect of rotations on quantized weights, by KL on held-out windows.
 * With `--online` it prints the effect of R3 and R4 on activations and the cache, which are rounded to integers during
 * the forward pass (weights are not quantized).
 */
import { parseArgs } from 'node:util';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import type { Quantizer } from '@q/core';
import { gptq } from '@q/gptq';

import { type RotateOptions, rotate } from '@q/rotate';
import { rtn } from '@q/rtn';
import { figureKernels } from './figure-kernels.js';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { measureRounded } from './measure-rounded.js';
import { firstWindows, openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    methods: { type: 'string', default: 'rtn,gptq' },
    variants: { type: 'string', default: 'none,r1+r2' },
    seeds: { type: 'string', default: '0' },
    groups: { type: 'string', default: '-1' },
    samples: { type: 'string', default: '128' },
    windows: { type: 'string', default: '8' },
    online: { type: 'boolean', default: false },
  },
});
const names = positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m', 'opt-3m'];
const numbers = (text: string) => text.split(',').map(Number);
const methods: Readonly<Record<string, Quantizer>> = { rtn: rtn(), gptq: gptq() };
const variants: Readonly<Record<string, RotateOptions | undefined>> = {
  none: undefined,
  r1: { values: false },
  r2: { residual: false },
  'r1+r2': {},
};

const kernels = await figureKernels();
if (values.online) await printRounded();
else await printWeights();
await kernels.dispose();

async function printWeights(): Promise<void> {
  console.log('model     bits  group  method  rotation  seed         KL  / none  seconds');
  for (const name of names) {
    const whole = await openSubject(name);
    const subject = firstWindows(whole, Number(values.samples), whole.valid.count);
    for (const bits of numbers(values.bits)) {
      for (const group of numbers(values.groups)) {
        for (const method of values.methods.split(',')) {
          let plain = Number.NaN;
          for (const variant of values.variants.split(',')) {
            const options = variants[variant];
            for (const seed of options ? numbers(values.seeds) : [0]) {
              const { kl, seconds } = await measureRecipe(subject, methods[method], asymmetric(bits, group), kernels, {
                transforms: options ? [rotate(options)] : [],
                seed,
              });
              if (!options) plain = kl;
              console.log(
                `${name.padEnd(9)} ${`${bits}`.padStart(4)}  ${`${group}`.padStart(5)}  ${method.padEnd(6)}  ${variant.padEnd(8)}  ${`${seed}`.padStart(4)}  ${kl.toFixed(6).padStart(9)}  ${(kl / plain).toFixed(3).padStart(6)}  ${seconds.toFixed(1).padStart(7)}`,
              );
            }
          }
        }
      }
    }
  }
}

async function printRounded(): Promise<void> {
  console.log('model     what is rounded             rotations             KL  / none');
  for (const name of names) {
    const subject = await openSubject(name);
    const source = await openCheckpoint(subject.folder, [gptqLayout()]);
    let plain = Number.NaN;
    for await (const { what, rotations, kl } of measureRounded(
      source,
      subject.valid,
      kernels,
      Number(values.windows),
    )) {
      if (rotations === 'none') plain = kl;
      console.log(
        `${name.padEnd(9)} ${what.padEnd(26)}  ${rotations.padEnd(16)}  ${kl.toFixed(6).padStart(9)}  ${(kl / plain).toFixed(3).padStart(6)}`,
      );
    }
    await source.close();
  }
}

/**
 * `pnpm figures:gptq-best [MODEL ...] [--bits 2,3,4] [--group=-1] [--variants 'a;b']` prints the gain of each step
 * beyond the paper's GPTQ, by KL on held-out windows, compared with the reference solver with act-order and AutoRound
 * (reference/peers.json).
 */
import { parseArgs } from 'node:util';
import type { Quantizer } from '@q/core';
import { type GptqOptions, gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { peerKl, peers } from './peers.js';
import { openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { bits: { type: 'string', default: '4,3,2' }, group: { type: 'string' }, variants: { type: 'string' } },
});

/** Each variant adds one step, so each line shows the gain of its step. */
const variants: Record<string, GptqOptions> = {
  paper: paperOptions,
  'GPTAQ, alpha 0.25': { ...paperOptions, asymmetric: 0.25 },
  'GPTAQ, alpha 1': { ...paperOptions, asymmetric: 1 },
  retarget: { ...paperOptions, retarget: 1 },
  'and the residual': { ...paperOptions, retarget: 1, residual: true },
  'and refinement': { ...paperOptions, retarget: 1, residual: true, refineRounds: 3 },
  'and weighted grids': { ranges: [1] },
  'and ranges: default': {},
  'half the retarget': { retarget: 0.5 },
  'no residual': { residual: false },
  'no importance': { importance: 'none' },
  'conditional importance': { importance: 'conditional' },
  'importance of the unquantized inputs': { importance: 'reference' },
  'damping 0.003': { damping: 0.003 },
  'damping 0.03': { damping: 0.03 },
  '10 rounds': { refineRounds: 10 },
};
const wanted = values.variants?.split(';') ?? Object.keys(variants);
const kernels = await createWasmKernels();
const ratios = new Map<string, number[]>();
console.log('model     bits group  variant                             KL  / act-order  / AutoRound  seconds');
for (const name of positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m', 'opt-3m']) {
  const subject = await openSubject(name);
  const settings = peers.filter(({ model, method }) => model === name && method === 'gptq-act-order');
  for (const { bits, group, kl: reference } of settings) {
    if (!values.bits.split(',').map(Number).includes(bits)) continue;
    if (values.group !== undefined && Number(values.group) !== group) continue;
    const autoRound = peerKl('autoround', name, bits, group);
    for (const variant of wanted) {
      if (!variants[variant])
        throw new Error(`--variants ${variant}: is not known (${Object.keys(variants).join('; ')})`);
      const quantizer: Quantizer = gptq(variants[variant]);
      const { kl, seconds } = await measureRecipe(subject, quantizer, asymmetric(bits, group), kernels);
      ratios.set(variant, [...(ratios.get(variant) ?? []), kl / reference]);
      const against = autoRound ? (kl / autoRound).toFixed(3) : '';
      console.log(
        `${name.padEnd(9)} ${`${bits}`.padStart(4)} ${`${group}`.padStart(5)}  ${variant.padEnd(28)} ${kl.toFixed(6).padStart(9)}  ${(kl / reference).toFixed(3).padStart(11)}  ${against.padStart(11)}  ${seconds.toFixed(1).padStart(7)}`,
      );
    }
  }
}
await kernels.dispose();
for (const [variant, all] of ratios) {
  const mean = Math.exp(all.reduce((sum, ratio) => sum + Math.log(ratio), 0) / all.length);
  console.log(
    `${variant.padEnd(28)} mean ratio to act-order ${mean.toFixed(3)}, worst ${Math.max(...all).toFixed(3)} over ${all.length} lines`,
  );
}

/**
 * `pnpm figures:gptq [MODEL ...] [--bits 2,3,4] [--methods a,b] [--damping 0.01] [--engine auto]` compares RTN and GPTQ
 * on the shared models with the reference solver and other tools on the same windows (reference/peers.json). It prints
 * KL, perplexity and the ratio of each line.
 */
import { parseArgs } from 'node:util';
import { minMax, type Quantizer } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { rtn } from '@q/rtn';
import type { BackendChoice } from '@q/tfjs';
import { asymmetric, measureRecipe } from './measure-recipe.js';
import { peers } from './peers.js';
import { openSubject } from './subject.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bits: { type: 'string', default: '4,3,2' },
    group: { type: 'string' },
    methods: { type: 'string' },
    damping: { type: 'string', default: '0.01' },
    engine: { type: 'string', default: 'auto' },
  },
});
const models = positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m', 'opt-3m'];
const bitWidths = values.bits.split(',').map(Number);

const damping = Number(values.damping);
const methods: Record<string, () => Quantizer> = {
  rtn: () => rtn({ fit: minMax() }),
  gptq: () => gptq({ ...paperOptions, damping, actOrder: false }),
  'gptq-act-order': () => gptq({ ...paperOptions, damping }),
};
const wanted = values.methods?.split(',') ?? Object.keys(methods);

const kernels = await createWasmKernels();
const ratios = new Map<string, number[]>();
console.log('model     method          bits group  perplexity         KL   reference  ratio  seconds');
for (const name of models) {
  const subject = await openSubject(name);
  for (const peer of peers) {
    if (peer.model !== name || !bitWidths.includes(peer.bits) || !wanted.includes(peer.method) || !methods[peer.method])
      continue;
    if (values.group !== undefined && peer.group !== Number(values.group)) continue;
    const { perplexity, kl, seconds } = await measureRecipe(
      subject,
      methods[peer.method](),
      asymmetric(peer.bits, peer.group),
      kernels,
      { backend: values.engine as BackendChoice },
    );
    const ratio = kl / peer.kl;
    ratios.set(peer.method, [...(ratios.get(peer.method) ?? []), ratio]);
    console.log(
      `${name.padEnd(9)} ${peer.method.padEnd(15)} ${`${peer.bits}`.padStart(4)} ${`${peer.group}`.padStart(5)}  ${perplexity.toFixed(4).padStart(10)}  ${kl.toFixed(6).padStart(9)}  ${peer.kl.toFixed(6).padStart(10)}  ${ratio.toFixed(3).padStart(5)}  ${seconds.toFixed(1).padStart(7)}`,
    );
  }
}
await kernels.dispose();
for (const [method, all] of ratios) {
  const mean = all.reduce((sum, ratio) => sum + ratio, 0) / all.length;
  console.log(
    `${method}: mean ratio ${mean.toFixed(3)}, worst ${Math.max(...all).toFixed(3)}, best ${Math.min(...all).toFixed(3)} over ${all.length} lines`,
  );
}

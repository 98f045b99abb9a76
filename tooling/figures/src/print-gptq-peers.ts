/**
 * `pnpm figures:gptq [MODEL ...] [--bits 2,3,4]`: RTN and GPTQ on the shared models beside what the reference solver and
 * other tools reach with the same windows (reference/peers.json). Prints KL, perplexity and the ratio of each line.
 */
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readU16Windows } from '@q/calib';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { createContext, minMax, perChannel, perGroup, type Quantizer, scheme, unsignedIntegers } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { createWasmKernels } from '@q/kernels-wasm';
import { planRun, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';

interface PeerLine {
  readonly model: string;
  readonly method: string;
  readonly bits: number;
  readonly group: number;
  readonly perplexity: number;
  readonly kl: number;
  readonly seconds: number;
}

const shared = process.env.QUANT_SHARED;
if (!shared) throw new Error('QUANT_SHARED must name the folder with the shared models');
const peers: PeerLine[] = JSON.parse(await readFile(new URL('../reference/peers.json', import.meta.url), 'utf8'));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { bits: { type: 'string', default: '4,3,2' }, methods: { type: 'string' } },
});
const models = positionals.length > 0 ? positionals : ['llama-5m', 'gpt2-3m', 'opt-3m'];
const bitWidths = values.bits.split(',').map(Number);

const methods: Record<string, () => Quantizer> = {
  rtn: () => rtn({ fit: minMax() }),
  gptq: () => gptq({ actOrder: false, fit: minMax() }),
  'gptq-act-order': () => gptq({ actOrder: true, fit: minMax() }),
};
const wanted = values.methods?.split(',') ?? Object.keys(methods);

const kernels = await createWasmKernels();
const layout = gptqLayout();
const ratios = new Map<string, number[]>();
console.log('model     method          bits group  perplexity         KL   reference  ratio  seconds');
for (const name of models) {
  const folder = join(shared, 'models', name);
  const calibration = readU16Windows(await readFile(join(folder, 'calib-128x256.u16')), 256);
  const valid = readU16Windows(await readFile(join(folder, 'valid-60x256.u16')), 256);
  for (const peer of peers) {
    if (peer.model !== name || !bitWidths.includes(peer.bits) || !wanted.includes(peer.method) || !methods[peer.method])
      continue;
    const out = join(tmpdir(), `q-figures-${process.pid}`);
    const source = await openCheckpoint(folder, [layout]);
    const rule = {
      match: /^(?!lm_head$)/,
      quantizer: methods[peer.method](),
      scheme: scheme({
        format: unsignedIntegers[peer.bits - 2],
        granularity: peer.group === -1 ? perChannel : perGroup(peer.group),
        zeroPoint: 'integer',
      }),
    };
    const plan = planRun(source, { layout, rules: [rule], seed: 0 });
    const result = await runPlan(plan, {
      out,
      context: createContext({ kernels }),
      calibration,
      engine: () => createEngine({ kernels }),
    });
    const written = await openCheckpoint(out, [layout]);
    const engine = await createEngine({ kernels });
    const original = source.model && (await runWindows(source.model, engine, (tensor) => source.weight(tensor), valid));
    const quantized =
      written.model && (await runWindows(written.model, engine, (tensor) => written.weight(tensor), valid));
    if (!original || !quantized) throw new Error(`${folder}: unknown architecture`);
    const { perplexity, kl = Number.NaN } = await evaluate(quantized, valid, { against: original });
    await engine.dispose();
    await source.close();
    await written.close();
    await rm(out, { recursive: true });
    const ratio = kl / peer.kl;
    ratios.set(peer.method, [...(ratios.get(peer.method) ?? []), ratio]);
    console.log(
      `${name.padEnd(9)} ${peer.method.padEnd(15)} ${`${peer.bits}`.padStart(4)} ${`${peer.group}`.padStart(5)}  ${perplexity.toFixed(4).padStart(10)}  ${kl.toFixed(6).padStart(9)}  ${peer.kl.toFixed(6).padStart(10)}  ${ratio.toFixed(3).padStart(5)}  ${result.seconds.toFixed(1).padStart(7)}`,
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

import { join } from 'node:path';
import type { Benchmark } from '../benchmark.js';
import { modelWithWindows } from '../real-model.js';
import { scoreFolder } from '../score-folder.js';
import {
  gptqModelRun,
  llmCompressorRun,
  openRuns,
  ownEngineRuns,
  ownGptqRuns,
  peerRuns,
  type WholeRun,
} from '../whole-run.js';

/** The first one is that of the targets. */
const settings = [
  { name: 'smollm2-135m', bits: 3 },
  { name: 'gemma3-270m', bits: 3 },
  { name: 'smollm2-135m', bits: 4 },
  { name: 'smollm2-135m', bits: 2 },
];

/** The default GPTQ on every available engine. */
const defaultRuns = (whole: WholeRun) => ownEngineRuns(whole, ['--method', 'gptq']);

export const benchmark: Benchmark = {
  description: `GPTQ of SmolLM2-135M at 3, 4 and 2 bits and Gemma 3 270M at 3 bits (--title picks), groups of 64, act-order, 128 windows of 256 tokens of WikiText-2, from the start of the process to the written folder, with peak memory; then the KL divergence of ours on 40 windows held out; fetches the models and sets up the peers on first use, one round, minutes a contender`,
  async *comparisons() {
    const runs = await openRuns();
    try {
      for (const { name, bits } of settings) {
        const found = await modelWithWindows(name, join(runs.path, name));
        if (!found) continue;
        const { model, calib, heldOut } = found;
        const written: string[] = [];
        const out = () => {
          written.push(runs.out());
          return written.at(-1) as string;
        };
        const whole: WholeRun = { model, calib, group: 64, bits, out: runs.out };
        const own = { ...whole, out };
        yield {
          title: `${name}, ${bits} bits, groups of 64`,
          work: 128 * 256,
          unit: 'tokens',
          rounds: 1,
          warmUps: 0,
          contenders: [
            ...(await peerRuns(whole, [llmCompressorRun(8), gptqModelRun(8)])),
            ...ownGptqRuns(own),
            ...defaultRuns(own),
          ],
          // Native: half of the fastest peer's time. Only wasm: not more than its time.
          atLeast: { 'q quantize --method gptq --engine node': 2, 'q quantize --method gptq --engine wasm': 1 },
          atMostMemory: { 'q quantize --method gptq --engine wasm': 1 / 3 },
        };
        for (const [run, result] of written.entries()) {
          const { kl } = await scoreFolder(result, model, heldOut);
          console.log(`  KL of run ${run}, in the order of the table: ${kl.toFixed(4)}`);
        }
      }
    } finally {
      await runs.remove();
    }
  },
};

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Benchmark } from '../benchmark.js';
import {
  buildCommand,
  gptqModelRun,
  llmCompressorRun,
  ownGptqRuns,
  peerRuns,
  reference,
  type WholeRun,
} from '../whole-run.js';

/** Groups that divide every width; llama-5m has 688 inputs, which only whole rows do for all tools. */
const models: Readonly<Record<string, number>> = { 'llama-5m': -1, 'gpt2-3m': 64, 'opt-3m': 64 };

export const benchmark: Benchmark = {
  description:
    'whole GPTQ runs, 4 bits, act-order, 128 windows of 256 tokens, from the start of the process to the written folder; sets up the peers on first use',
  async *comparisons() {
    const shared = process.env.QUANT_SHARED;
    if (!shared) {
      console.log('  left out: QUANT_SHARED does not name the folder of trained models');
      return;
    }
    await buildCommand();
    const folder = await mkdtemp(join(tmpdir(), 'q-bench-'));
    let runs = 0;
    try {
      for (const [name, group] of Object.entries(models)) {
        const model = join(shared, 'models', name);
        const whole: WholeRun = {
          model,
          calib: join(model, 'calib-128x256.u16'),
          group,
          out: () => join(folder, String(runs++)),
        };
        // llm-compressor takes nn.Linear for linears; those of GPT-2 in transformers are Conv1D.
        const compressor = name === 'gpt2-3m' ? [] : [llmCompressorRun(8)];
        if (compressor.length === 0) console.log(`  left out: llm-compressor on ${name}: it knows no Conv1D`);
        yield {
          title: `${name}, 4 bits, ${group === -1 ? 'per channel' : `groups of ${group}`}`,
          work: 128 * 256,
          unit: 'tokens',
          rounds: 3,
          contenders: [...(await peerRuns(whole, [reference, ...compressor, gptqModelRun(8)])), ...ownGptqRuns(whole)],
          atLeast: { 'q quantize --engine wasm': 2 },
        };
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

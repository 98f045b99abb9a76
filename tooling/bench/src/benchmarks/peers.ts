import type { Benchmark } from '../benchmark.js';
import {
  gptqModelRun,
  llmCompressorRun,
  openRuns,
  ownGptqRuns,
  peerRuns,
  reference,
  sharedModel,
} from '../whole-run.js';

/** Groups that divide every width. llama-5m has linears of 688 inputs, for which all tools only support whole rows. */
const models: Readonly<Record<string, number>> = { 'llama-5m': -1, 'gpt2-3m': 64, 'opt-3m': 64 };

export const benchmark: Benchmark = {
  description:
    'whole GPTQ runs, 4 bits, act-order, 128 windows of 256 tokens, from the start of the process to the written folder; sets up the peers on first use',
  async *comparisons() {
    const runs = await openRuns();
    try {
      for (const [name, group] of Object.entries(models)) {
        const model = sharedModel(name);
        if (!model) continue;
        const whole = runs.of(model, group);
        // llm-compressor only quantizes nn.Linear; the linears of GPT-2 in transformers are Conv1D.
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
      await runs.remove();
    }
  },
};

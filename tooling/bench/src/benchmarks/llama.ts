import { join } from 'node:path';
import type { Benchmark } from '../benchmark.js';
import { syntheticTokens, writeSyntheticLlama } from '../synthetic-llama.js';
import { frugalRun, gptqModelRun, llmCompressorRun, openRuns, ownGptqRuns, peerRuns } from '../whole-run.js';

export const benchmark: Benchmark = {
  description:
    'a whole GPTQ run on a Llama of 4 layers, hidden 1024, ffn 2816 with random weights: 4 bits, groups of 128, act-order, 128 windows of 256 tokens, and peak memory; one round, minutes a contender',
  async *comparisons() {
    const runs = await openRuns();
    try {
      const model = join(runs.path, 'model');
      await writeSyntheticLlama(model);
      const whole = runs.of(model, 128);
      const frugal = frugalRun(whole);
      yield {
        title: 'Llama, 55.6 million parameters',
        work: syntheticTokens,
        unit: 'tokens',
        rounds: 1,
        warmUps: 0,
        contenders: [
          ...(await peerRuns(whole, [llmCompressorRun(8), llmCompressorRun(1), gptqModelRun(8)])),
          ...ownGptqRuns(whole),
          frugal,
        ],
        // At most 1.2 and 0.6 of the fastest peer's time.
        atLeast: { 'q quantize --engine wasm': 1 / 1.2, [frugal.name]: 1 / 1.2, 'q quantize --engine node': 1 / 0.6 },
        atMostMemory: { [frugal.name]: 1 / 3 },
      };
    } finally {
      await runs.remove();
    }
  },
};

import type { Benchmark } from '../benchmark.js';
import { autoRoundRun, awqRun, openRuns, ownEngineRuns, ownRun, peerRuns, sharedModel } from '../whole-run.js';

const blocks = 4;
const steps = 50;

export const benchmark: Benchmark = {
  description:
    "AWQ's search compared with llm-compressor's, SignRound compared with AutoRound: opt-3m, 4 bits, groups of 64, 128 windows of 256 tokens, from the start of the process to the written folder",
  async *comparisons() {
    const model = sharedModel('opt-3m');
    if (!model) return;
    const runs = await openRuns();
    const whole = runs.of(model, 64);
    try {
      yield {
        title: 'AWQ, 20 scales, no clipping',
        work: 128 * 256,
        unit: 'tokens',
        rounds: 3,
        contenders: [
          ...(await peerRuns(whole, [awqRun(8)])),
          // Both rewrite the model and round to nearest. The peer has no clipping.
          ownRun(whole, ['--method', 'awq', '--no-clip']),
          ownRun(whole, ['--method', 'awq', '--no-clip', '--objective', 'module']),
        ],
      };
      yield {
        title: `SignRound, ${steps} steps of 8 windows for each of ${blocks} blocks`,
        work: blocks * steps,
        unit: 'steps',
        rounds: 1,
        contenders: [
          ...(await peerRuns(whole, [autoRoundRun(8, steps)])),
          ...ownEngineRuns(whole, ['--method', 'signround', '--steps', String(steps)]),
        ],
      };
    } finally {
      await runs.remove();
    }
  },
};

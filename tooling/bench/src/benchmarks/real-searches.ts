import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Benchmark, Comparison } from '../benchmark.js';
import { modelWithWindows } from '../real-model.js';
import {
  autoRoundRun,
  awqRun,
  hqqRun,
  openRuns,
  ownEngineRuns,
  ownRun,
  peerRuns,
  type WholeRun,
} from '../whole-run.js';

const name = 'smollm2-135m';
const blocks = 30;
const steps = 20;
/**
 * Windows for AWQ. With 128 of them llm-compressor had not finished after 27 minutes on two cores, 46 minutes of
 * processor time.
 */
const awqWindows = 16;

export const benchmark: Benchmark = {
  description: `methods that search, on ${name}: HQQ compared with hqq, AWQ with llm-compressor, SignRound with AutoRound; 4 bits, groups of 64, 128 windows of 256 tokens of WikiText-2 (AWQ ${awqWindows}), from the start of the process to the written folder; fetches the model and sets up the peers on first use, one round, minutes a contender`,
  async *comparisons(): AsyncGenerator<Comparison> {
    const runs = await openRuns();
    try {
      const found = await modelWithWindows(name, join(runs.path, 'windows'));
      if (!found) return;
      const { model, calib } = found;
      const whole: WholeRun = { model, calib, group: 64, out: runs.out };
      const fewer = join(runs.path, `calib-${awqWindows}x256.u16`);
      await writeFile(fewer, (await readFile(calib)).subarray(0, awqWindows * 256 * 2));
      const short = { ...whole, calib: fewer };
      const once = { rounds: 1, warmUps: 0 };
      yield {
        ...{ title: 'HQQ', work: 1, unit: 'runs', ...once },
        contenders: [...(await peerRuns(whole, [hqqRun])), ownRun(whole, ['--method', 'hqq'])],
        atLeast: { 'q quantize --method hqq': 2 },
      };
      yield {
        ...{
          title: `AWQ, 20 scales, no clipping, ${awqWindows} windows`,
          work: awqWindows * 256,
          unit: 'tokens',
          ...once,
        },
        contenders: [
          ...(await peerRuns(short, [awqRun(8)])),
          // Ours finds the scales by second moments of the inputs, the peer by running each module 20 times.
          ...ownEngineRuns(short, ['--method', 'awq'], ['--no-clip', '--samples', String(awqWindows)]),
        ],
        atLeast: { 'q quantize --method awq --engine node': 2 },
      };
      yield {
        ...{ title: `SignRound, ${steps} steps of 8 windows for each of ${blocks} blocks`, ...once },
        ...{ work: blocks * steps, unit: 'steps' },
        contenders: [
          ...(await peerRuns(whole, [autoRoundRun(8, steps)])),
          ...ownEngineRuns(whole, ['--method', 'signround'], ['--steps', String(steps)]),
        ],
        atLeast: { 'q quantize --method signround --engine node': 1.2 },
      };
    } finally {
      await runs.remove();
    }
  },
};

/**
 * `pnpm figures:peers [--models a,b] [--bits 4,3,2] [--group 64] [--only REGEXP] [--with OPTIONS]`: KL divergence to the
 * original of published models after GPTQ by `q` and by other tools, at several widths. `--only` picks tools by their
 * names, and `--with` gives further options to `q`. All calibrate on the same 128 windows of 256 tokens of WikiText-2
 * and are scored by `q eval` on the next 40 windows. The command needs `QUANT_SHARED`, takes minutes for each line, and
 * exits with 1 when a tool fails.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Contender } from './benchmark.js';
import { modelWithWindows } from './real-model.js';
import { scoreFolder } from './score-folder.js';
import { gptqModelRun, llmCompressorRun, openRuns, ownRun, peerRuns, type WholeRun } from './whole-run.js';

const { values: asked } = parseArgs({
  options: {
    models: { type: 'string', default: 'smollm2-135m,gemma3-270m' },
    bits: { type: 'string', default: '4,3,2' },
    group: { type: 'string', default: '64' },
    engine: { type: 'string', default: 'auto' },
    only: { type: 'string', default: '' },
    with: { type: 'string', default: '' },
  },
});
const further = asked.with.split(' ').filter((option) => option !== '');

const runs = await openRuns();
try {
  console.log('| model | bits | tool | KL | perplexity | same top token | s | peak, MB |');
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const name of asked.models.split(',')) {
    const found = await modelWithWindows(name, join(runs.path, name));
    if (!found) continue;
    const { model, calib, heldOut } = found;
    for (const bits of asked.bits.split(',').map(Number)) {
      let out = '';
      const whole: WholeRun = { model, calib, group: Number(asked.group), bits, out: () => (out = runs.out()) };
      const contenders: readonly Contender[] = [
        ownRun(whole, ['--method', 'gptq', ...further], ['--engine', asked.engine]),
        ...(await peerRuns(whole, [llmCompressorRun(8), gptqModelRun(8)])),
      ];
      for (const contender of contenders.filter((each) => new RegExp(asked.only).test(each.name))) {
        const started = performance.now();
        try {
          await contender.run();
          const seconds = (performance.now() - started) / 1000;
          const { kl, perplexity, topAgreement } = await scoreFolder(out, model, heldOut);
          const peak = contender.peakBytes === undefined ? '' : (contender.peakBytes / 1e6).toFixed(0);
          const cells = [name, bits, contender.name, kl.toFixed(5), perplexity.toFixed(2)];
          const rest = [`${(100 * topAgreement).toFixed(1)} %`, seconds.toFixed(0), peak];
          console.log(`| ${[...cells, ...rest].join(' | ')} |`);
        } catch (error) {
          process.exitCode = 1;
          console.log(`| ${name} | ${bits} | ${contender.name} | failed: ${(error as Error).message.slice(-300)} |`);
        } finally {
          await rm(out, { recursive: true, force: true });
        }
      }
    }
  }
} finally {
  await runs.remove();
}

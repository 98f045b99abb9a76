import { fileURLToPath } from 'node:url';
import type { Benchmark } from '../benchmark.js';
import { processContender } from '../measured-process.js';
import { findPeers, gptqModel, llmCompressor, peerVariables, pytorch } from '../peer-process.js';
import { buildCommand, ownCommand } from '../whole-run.js';

/** The modules that a program of the peers imports at its start, and their environments. */
const imports = [
  ['torch, transformers', pytorch],
  ['llmcompressor', llmCompressor],
  ['gptqmodel', gptqModel],
] as const;
const demo = fileURLToPath(new URL('../../../../packages/cli/demo/model', import.meta.url));

export const benchmark: Benchmark = {
  description:
    'cold start of the command and its peak memory, compared with an interpreter that imports what its peers need and does nothing with it',
  async *comparisons() {
    await buildCommand();
    const peers = [];
    for (const [modules, environment] of imports) {
      const python = await findPeers(environment);
      if (!python) {
        console.log(`  left out: import ${modules}: \`pnpm bench peers\` sets it up`);
        continue;
      }
      const command = { file: python, args: ['-c', `import ${modules}`], env: peerVariables };
      peers.push(processContender(`python: import ${modules}`, () => command, true));
    }
    yield {
      title: 'from the start of the process to its end',
      work: 1,
      unit: 'starts',
      rounds: 7,
      contenders: [
        ...peers,
        processContender('q --version', () => ownCommand('--version')),
        processContender('q plan MODEL', () => ownCommand('plan', demo)),
      ],
    };
  },
};

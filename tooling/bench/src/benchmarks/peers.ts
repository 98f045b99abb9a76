import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { nativeAbsence } from '@q/tfjs';
import type { Benchmark } from '../benchmark.js';
import { setUpPeers } from '../peer-process.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../../', import.meta.url));
const bits = '4';
const models: Readonly<Record<string, string>> = { 'llama-5m': '128', 'gpt2-3m': '64', 'opt-3m': '64' };

export const benchmark: Benchmark = {
  description:
    'whole GPTQ runs, act-order and true-sequential, 128 windows of 256 tokens, from the start of the process to the written folder; sets up PyTorch on first use',
  async *comparisons() {
    const shared = process.env.QUANT_SHARED;
    if (!shared) {
      console.log('  left out: QUANT_SHARED does not name the folder of trained models');
      return;
    }
    const python = await setUpPeers();
    const threads = String(availableParallelism());
    // The command as it is installed: built, and started by Node alone.
    await run('pnpm', ['exec', 'turbo', 'run', 'build', '--filter=@q/cli'], { cwd: root });
    const folder = await mkdtemp(join(tmpdir(), 'q-bench-'));
    let runs = 0;
    const out = () => join(folder, String(runs++));
    try {
      for (const [name, group] of Object.entries(models)) {
        const model = join(shared, 'models', name);
        const calib = join(model, 'calib-128x256.u16');
        const command = (engine: string) => ({
          name: `q quantize --engine ${engine}`,
          run: () =>
            run(process.execPath, [
              ...[join(root, 'packages/cli/dist/bin.js'), 'quantize', model, out(), '--calib', calib],
              ...['--method', 'gptq-paper', '--bits', bits, '--group', group, '--engine', engine, '--no-eval'],
            ]),
        });
        yield {
          title: `${name}, ${bits} bits, groups of ${group}`,
          work: 128 * 256,
          unit: 'tokens',
          rounds: 3,
          contenders: [
            {
              name: 'reference in PyTorch',
              run: () =>
                run(
                  python,
                  [join(root, 'tooling/bench/peers/reference.py'), threads, model, calib, out(), bits, group],
                  {
                    env: {
                      ...process.env,
                      CUDA_VISIBLE_DEVICES: '',
                      HF_HUB_OFFLINE: '1',
                      PYTHONDONTWRITEBYTECODE: '1',
                    },
                  },
                ),
            },
            command('wasm'),
            ...(nativeAbsence() ? [] : [command('node')]),
          ],
          atLeast: { 'q quantize --engine wasm': 2 },
        };
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { nativeAbsence } from '@q/tfjs';
import type { Contender } from './benchmark.js';
import { processContender } from './measured-process.js';
import {
  gptqModel,
  llmCompressor,
  type PeerEnvironment,
  peerScripts,
  peerVariables,
  pytorch,
  setUpPeers,
} from './peer-process.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const bin = join(root, 'packages/cli/dist/bin.js');

/** A whole run of GPTQ: 4 bits, asymmetric, act-order with grids of the original groups, block after block. */
export interface WholeRun {
  /** Model folder, with a tokenizer for the tools that ask for one. */
  readonly model: string;
  /** Windows of 256 token ids, little-endian 16 bits. */
  readonly calib: string;
  /** -1: one scale per output channel. */
  readonly group: number;
  /** A folder that is not there yet; asked for before each run. */
  out(): string;
}

const bits = '4';

/** Builds the command as it is installed: started by Node alone, without a compiler on the way. */
export async function buildCommand(): Promise<void> {
  await promisify(execFile)('pnpm', ['exec', 'turbo', 'run', 'build', '--filter=@q/cli'], { cwd: root });
}

/** The built command with arguments. */
export const ownCommand = (...args: readonly string[]) => ({ file: process.execPath, args: [bin, ...args] });

/** `q quantize --method gptq-paper`, with an engine. */
export function ownRun({ model, calib, group, out }: WholeRun, engine: string): Contender {
  const options = ['--method', 'gptq-paper', '--bits', bits, '--group', String(group), '--engine', engine];
  return processContender(`q quantize --engine ${engine}`, () =>
    ownCommand('quantize', model, out(), '--calib', calib, ...options, '--no-eval'),
  );
}

/** The engines that are there: wasm, and node where it is set up. */
export const ownEngines = (): readonly string[] => (nativeAbsence() ? ['wasm'] : ['wasm', 'node']);

/** A script in `peers` and what it runs in. */
interface PeerScript {
  readonly name: string;
  readonly script: string;
  readonly environment: PeerEnvironment;
  /** Arguments after those that all have. */
  readonly rest: readonly string[];
}

export const reference: PeerScript = {
  name: 'reference in PyTorch',
  script: 'reference.py',
  environment: pytorch,
  rest: [],
};
export const llmCompressorRun = (batch: number): PeerScript => ({
  name: `llm-compressor, batch ${batch}`,
  script: 'llm_compressor_run.py',
  environment: llmCompressor,
  rest: [String(batch)],
});
export const gptqModelRun = (batch: number): PeerScript => ({
  name: `GPTQModel, batch ${batch}`,
  script: 'gptqmodel_run.py',
  environment: gptqModel,
  rest: [String(batch)],
});

/** Those of the scripts that can be run here. */
export async function peerRuns(
  { model, calib, group, out }: WholeRun,
  scripts: readonly PeerScript[],
): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const { name, script, environment, rest } of scripts) {
    const python = await setUpPeers(environment);
    if (!python) continue;
    const threads = String(availableParallelism());
    contenders.push(
      processContender(
        name,
        () => ({
          file: python,
          args: [join(peerScripts, script), threads, model, calib, out(), bits, String(group), ...rest],
          env: peerVariables,
        }),
        true,
      ),
    );
  }
  return contenders;
}

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bf16Absence, nativeAbsence } from '@q/tfjs';
import type { Contender } from './benchmark.js';
import { processContender } from './measured-process.js';
import {
  gptqModel,
  hqq,
  llmCompressor,
  type PeerEnvironment,
  peerScripts,
  peerVariables,
  pytorch,
  setUpPeers,
} from './peer-process.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const bin = join(root, 'packages/cli/dist/bin.js');

/**
 * A run of a whole model with asymmetric grids. GPTQ runs with act-order and the grids of the original groups, block
 * after block.
 */
export interface WholeRun {
  /** Model folder, with a tokenizer for the tools that need one. */
  readonly model: string;
  /** Windows of 256 token ids, little-endian 16 bits. */
  readonly calib: string;
  /** -1: one scale per output channel. */
  readonly group: number;
  /** Bits of a weight. Default: 4. */
  readonly bits?: number;
  /** Returns a folder that does not exist yet; called before each run. */
  out(): string;
}

/** Makes runs of models into a temporary folder. */
export interface RunFolder {
  /** The temporary folder; models of a comparison may be written to it too. */
  readonly path: string;
  /** A folder in it that does not exist yet, another one for each call. */
  out(): string;
  /** A run of a model folder that has its windows as `calib-128x256.u16`. */
  of(model: string, group: number): WholeRun;
  remove(): Promise<void>;
}

/** Builds the command, and makes a folder for runs. */
export async function openRuns(): Promise<RunFolder> {
  await buildCommand();
  const path = await mkdtemp(join(tmpdir(), 'q-bench-'));
  let runs = 0;
  const out = () => join(path, String(runs++));
  return {
    ...{ path, out },
    of: (model, group) => ({ model, calib: join(model, 'calib-128x256.u16'), group, out }),
    remove: () => rm(path, { recursive: true }),
  };
}

/** Folder of a trained model; undefined, with a printed line, if there are none. */
export function sharedModel(name: string): string | undefined {
  const shared = process.env.QUANT_SHARED;
  if (!shared) console.log(`  left out: ${name}: QUANT_SHARED does not name the folder of trained models`);
  return shared && join(shared, 'models', name);
}

/** Builds the command as it is installed: Node starts it directly, without a compiler. */
export async function buildCommand(): Promise<void> {
  await promisify(execFile)('pnpm', ['exec', 'turbo', 'run', 'build', '--filter=@q/cli'], { cwd: root });
}

/** The built command with arguments. */
export const ownCommand = (...args: readonly string[]) => ({ file: process.execPath, args: [bin, ...args] });

/** `q quantize` with these options, which are its name; `silent` options are not part of the name. */
export function ownRun(
  { model, calib, group, bits = 4, out }: WholeRun,
  options: readonly string[],
  silent: readonly string[] = [],
): Contender {
  const all = [...options, ...silent, '--bits', String(bits), '--group', String(group), '--no-eval'];
  return processContender(`q quantize ${options.join(' ')}`, () =>
    ownCommand('quantize', model, out(), '--calib', calib, ...all),
  );
}

/** The engines that start here: wasm, the native one if it is set up, and its products in bf16 if they are fast here. */
const ownEngines = () => ['wasm', ...(nativeAbsence() ? [] : ['node', ...(bf16Absence() ? [] : ['node-bf16'])])];

/** `q quantize` on every available engine. */
export const ownEngineRuns = (
  whole: WholeRun,
  options: readonly string[],
  silent: readonly string[] = [],
): readonly Contender[] => ownEngines().map((engine) => ownRun(whole, [...options, '--engine', engine], silent));

/** GPTQ as published. */
export const ownGptqRuns = (whole: WholeRun): readonly Contender[] =>
  ownEngineRuns(whole, [], ['--method', 'gptq-paper']);

/**
 * The same with activations on the disk: the memory limit is less than the predicted need with activations in memory.
 */
export const frugalRun = (whole: WholeRun): Contender =>
  ownRun(whole, ['--engine', 'wasm', '--memory', '500000000'], ['--method', 'gptq-paper']);

/** A script in `peers`, with its environment. */
interface PeerScript {
  readonly name: string;
  readonly script: string;
  readonly environment: PeerEnvironment;
  /** Arguments after those of all scripts. */
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
export const awqRun = (batch: number): PeerScript => ({
  name: `AWQ of llm-compressor, batch ${batch}`,
  script: 'awq_run.py',
  environment: llmCompressor,
  rest: [String(batch)],
});
export const autoRoundRun = (batch: number, steps: number): PeerScript => ({
  name: `AutoRound, batch ${batch}`,
  script: 'auto_round_run.py',
  environment: llmCompressor,
  rest: [String(batch), String(steps)],
});
export const hqqRun: PeerScript = { name: 'hqq', script: 'hqq_run.py', environment: hqq, rest: [] };
export const gptqModelRun = (batch: number): PeerScript => ({
  name: `GPTQModel, batch ${batch}`,
  script: 'gptqmodel_run.py',
  environment: gptqModel,
  rest: [String(batch)],
});

/** The scripts that can run on this machine. */
export async function peerRuns(
  { model, calib, group, bits = 4, out }: WholeRun,
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
          args: [join(peerScripts, script), threads, model, calib, out(), String(bits), String(group), ...rest],
          env: peerVariables,
        }),
        true,
      ),
    );
  }
  return contenders;
}

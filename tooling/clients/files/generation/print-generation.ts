/**
 * Prints tokens per second after the prompt, and peak memory, of engines that run a model at 4 bits:
 * `print-generation.ts WORK MODULES LLAMA MODEL [TOKENS] [ROUNDS]`. Engines run in turns. Each run is a separate
 * process, greedy, from the same prompt.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { measureCommand } from '../../../figures/src/measured-command.js';
import { runCommand } from '../run-command.js';

const [work, modules, llama, model, tokens = '64', rounds = '3'] = process.argv.slice(2) as string[];
const prompt = 'The history of the city begins with';
const run = promisify(execFile);
interface Run {
  readonly tokensPerSecond: number;
  readonly peakBytes: number;
  readonly ids: readonly number[];
}

const gguf = join(work, 'model.q4_0.gguf');
const onnx = join(work, 'onnx');
await runCommand('convert', model, gguf, '--to', 'gguf', '--type', 'q4_0');
await runCommand('convert', model, onnx, '--to', 'onnx', '--type', 'q4');
const ownFolder = join(work, 'folder');
await runCommand(
  ...['quantize', model, ownFolder, '--method', 'rtn', '--bits', '4', '--group', '32', '--sym', '--no-eval'],
);
const own = (path: string) => async (): Promise<Run> => {
  const flags = ['--prompt', prompt, '--tokens', tokens, '--greedy', '--json', '--threads', '2'];
  const { out, peakBytes } = await measureCommand(['generate', path, ...flags]);
  return { ...JSON.parse(out), peakBytes };
};
const script =
  (name: string, ...words: string[]) =>
  async (): Promise<Run> => {
    const path = new URL(name, import.meta.url).pathname;
    const { stdout } = await run(process.execPath, [path, ...words, prompt, tokens]);
    return JSON.parse(stdout);
  };
const engines: Readonly<Record<string, () => Promise<Run>>> = {
  'q generate, GGUF Q4_0': own(gguf),
  'q generate, folder of 4 bits': own(ownFolder),
  'node-llama-cpp, the same GGUF': script('generate-llama.mjs', llama, gguf),
  'onnxruntime-node, our ONNX q4': script('generate-onnx.mjs', modules, onnx),
};
const runs = new Map<string, Run[]>(Object.keys(engines).map((name) => [name, []]));
for (let round = 0; round < Number(rounds); round++)
  for (const [name, engine] of Object.entries(engines)) (runs.get(name) as Run[]).push(await engine());

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
const speed = (name: string) => median((runs.get(name) as Run[]).map(({ tokensPerSecond }) => tokensPerSecond));
const peer = speed('node-llama-cpp, the same GGUF');
console.log('| engine | tokens/s | of node-llama-cpp | peak, MB |');
console.log('|---|---|---|---|');
for (const [name, all] of runs) {
  const peak = median(all.map(({ peakBytes }) => peakBytes)) / 1e6;
  console.log(`| ${name} | ${speed(name).toFixed(1)} | ${(speed(name) / peer).toFixed(2)} | ${peak.toFixed(0)} |`);
}

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeInterruptionModel } from './interruption-model.js';
import { writeLlamaGguf } from './llama-gguf.js';

const demo = fileURLToPath(new URL('../../../packages/cli/demo/', import.meta.url));
/** The model that {@link prepareModel} writes. */
const modelIn = (inputs: string) => join(inputs, 'model');
const [calibration, heldOut] = ['calibration', 'held-out'].map((name) => join(demo, 'text', `${name}.txt`));

/** Writes the model that every kind of run reads. */
export const prepareModel = (inputs: string) => writeInterruptionModel(modelIn(inputs), join(demo, 'model'));

/** A kind of run, small enough to be run hundreds of times. */
export interface RunKind {
  readonly name: string;
  /** Number of weight files of the result, if the kind tests that number. */
  readonly shards?: number;
  /** Arguments of `q` that write to `out`. */
  argv(out: string, inputs: string): readonly string[];
  /** Makes the other inputs of the command in the folder `inputs`, by `q`, which must end with 0. */
  prepare?(inputs: string, q: (argv: readonly string[]) => Promise<void>): Promise<unknown>;
}

const quantize = (name: string, ...flags: readonly string[]): RunKind => ({
  name,
  argv: (out, inputs) => ['quantize', modelIn(inputs), out, '--threads', '1', '--engine', 'wasm', ...flags],
});
const text = ['--calib', calibration as string, '--samples', '2', '--length', '16'];
const evaluated = ['--eval-text', heldOut as string, '--windows', '1', '--length', '16'];
const trained = ['--epochs', '1', '--batch', '1'];
const finetune = (name: string, source: (inputs: string) => string, ...flags: readonly string[]): RunKind => ({
  name,
  argv: (out, inputs) => [
    ...['finetune', source(inputs), out, '--threads', '1', '--engine', 'wasm', '--no-eval', ...trained, ...flags],
    ...['--text', calibration as string, '--samples', '2', '--length', '16'],
  ],
});
const groups = ['--bits', '4', '--group', '32'];

/** Every kind of run that keeps files when it dies, and `q gguf`, which starts again. */
export const runKinds: readonly RunKind[] = [
  { ...quantize('rtn in 4 shards', '--method', 'rtn', ...groups, '--no-eval', '--max-shard', '12000'), shards: 4 },
  quantize('eval after quantize', '--method', 'rtn', ...groups, ...evaluated),
  quantize('gptq', '--method', 'gptq', ...groups, '--fit', 'minMax', '--refine-rounds', '0', ...text, '--no-eval'),
  quantize('awq', '--method', 'awq', ...groups, '--no-clip', ...text, '--no-eval'),
  quantize('signround', '--method', 'signround', ...groups, '--steps', '2', '--batch', '1', ...text, '--no-eval'),
  quantize('qaft', '--method', 'qaft', ...groups, ...trained, ...text, '--no-eval'),
  quantize('llm-qat', '--method', 'llm-qat', ...groups, ...trained, '--samples', '2', '--length', '8', '--no-eval'),
  finetune('qlora', modelIn, '--method', 'qlora', '--rank', '2'),
  {
    ...finetune('peqa', (inputs) => join(inputs, 'quantized'), '--method', 'peqa'),
    prepare: (inputs, q) =>
      q(['quantize', modelIn(inputs), join(inputs, 'quantized'), '--method', 'rtn', ...groups, '--no-eval']),
  },
  {
    name: 'gguf',
    argv: (out, inputs) => ['gguf', join(inputs, 'demo.gguf'), out, '--type', 'q8_0', '--threads', '1'],
    prepare: (inputs) => writeLlamaGguf(join(inputs, 'demo.gguf'), modelIn(inputs)),
  },
];

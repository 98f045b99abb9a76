/**
 * `pnpm figures:finetune [MODEL] [--samples 128] [--epochs 5] [--parts peqa,lora]`: a model of TinyStories learns Tiny
 * Shakespeare. PEQA: the scales of two tasks for one set of integers, perplexity on both texts, bytes of a task,
 * checksum of the integers. QLoRA compared with LoRA on the unquantized weights: loss, bits a weight, and memory
 * predicted and measured, each in a separate process.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '@q/checkpoint';
import { bitsPerWeight, schemes } from '@q/core';
import { measureCommand } from './measured-command.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    samples: { type: 'string', default: '128' },
    length: { type: 'string', default: '256' },
    epochs: { type: 'string', default: '5' },
    windows: { type: 'string', default: '32' },
    rank: { type: 'string', default: '16' },
    batch: { type: 'string', default: '8' },
    engine: { type: 'string', default: 'auto' },
    parts: { type: 'string', default: 'peqa,lora' },
  },
});
const shared = process.env.QUANT_SHARED;
if (!shared) throw new Error('QUANT_SHARED must name the folder with the shared models');
const model = join(shared, 'models', positionals[0] ?? 'llama-5m');
const texts = {
  stories: join(shared, 'data', 'text', 'tinystories-train.txt'),
  shakespeare: join(shared, 'data', 'text', 'tinyshakespeare.txt'),
};
const heldOut = { stories: join(shared, 'data', 'text', 'tinystories-valid.txt'), shakespeare: texts.shakespeare };
const { samples, length, epochs, windows, engine, rank, batch } = values;
const work = await mkdtemp(join(tmpdir(), 'q-finetune-'));
const at = (name: string) => join(work, name);
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

interface Report {
  readonly evaluation: { readonly perplexity: Record<string, number> };
  readonly memory: Record<string, number>;
  readonly measuredMemory?: Record<string, number>;
  readonly taskBytes: number;
  readonly trainedParameters: number;
  readonly secondsPerStep: number;
}

async function tune(method: string, from: string, text: keyof typeof texts, out: string, ...more: string[]) {
  const argv = ['finetune', from, at(out), '--method', method, '--text', texts[text], '--samples', samples];
  const shape = ['--length', length, '--epochs', epochs, '--windows', windows, '--batch', batch, '--engine', engine];
  const { out: json, peakBytes } = await measureCommand([...argv, ...shape, '--json', ...more]);
  return { report: JSON.parse(json) as Report, peakBytes };
}

/**
 * Perplexity on windows outside of the training. For Shakespeare these are the last windows of a part, after those of
 * the training.
 */
async function perplexity(folder: string, text: keyof typeof texts, adapter?: string): Promise<number> {
  const argv = ['eval', folder, '--text', heldOut[text], '--length', length, '--engine', engine, '--json'];
  const beside = adapter === undefined ? [] : ['--adapter', at(adapter)];
  const count = text === 'stories' ? windows : `${Number(samples) + Number(windows)}`;
  return JSON.parse((await measureCommand([...argv, '--windows', count, ...beside])).out).perplexity;
}

/** Bits a weight of the linears in NF4 with double-quantized scales, as stored in a file. */
async function bitsOfNf4(): Promise<number> {
  const source = await openCheckpoint(model, []);
  const linears = source.model?.blocks.flatMap((block) => block.linears) ?? [];
  let [bits, weights] = [0, 0];
  for (const { inFeatures, outFeatures } of linears) {
    const size = inFeatures * outFeatures;
    bits += size * bitsPerWeight(schemes.nf4DoubleQuantized, [outFeatures, inFeatures]);
    weights += size;
  }
  await source.close();
  return bits / weights;
}

if (values.parts.includes('peqa')) {
  const int4 = ['--method', 'rtn', '--bits', '4', '--group', '-1', '--no-eval'];
  await measureCommand(['quantize', model, at('int4'), ...int4]);
  const weights = join(at('int4'), 'model.safetensors');
  const before = await readFile(weights);
  console.log('| scales in use | perplexity, TinyStories | perplexity, Tiny Shakespeare | bytes of the task |');
  console.log('| --- | --- | --- | --- |');
  const line = async (name: string, task?: string, bytes?: number) => {
    const [stories, shakespeare] = [
      await perplexity(at('int4'), 'stories', task),
      await perplexity(at('int4'), 'shakespeare', task),
    ];
    console.log(`| ${name} | ${stories.toFixed(4)} | ${shakespeare.toFixed(4)} | ${bytes ?? ''} |`);
  };
  await line('of the quantizer');
  for (const task of ['shakespeare', 'stories'] as const) {
    const { report } = await tune('peqa', at('int4'), task, task, '--rate', '1e-3');
    await line(task, task, report.taskBytes);
  }
  await line('of the quantizer, again');
  const configs = await Promise.all(
    ['shakespeare', 'stories'].map((task) => readFile(join(at(task), 'q-task.json'), 'utf8')),
  );
  const [one, two] = configs.map((text) => JSON.parse(text).integers as string);
  const unchanged = before.equals(await readFile(weights)) && one === two;
  console.log(
    `integers ${one.slice(0, 16)}: ${unchanged ? 'the same for both tasks, and the folder unchanged' : 'CHANGED'}\n`,
  );
}

if (values.parts.includes('lora')) {
  console.log(
    '| method | loss, before | after | base | bits a weight | all predicted | all measured | peak of the process | step |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  const losses = new Map<string, number>();
  for (const [name, method, ...more] of [
    ['LoRA, f32 weights', 'lora', '--no-checkpointing'],
    ['LoRA, block by block', 'lora'],
    ['QLoRA', 'qlora'],
  ]) {
    const { report, peakBytes } = await tune(
      method,
      model,
      'shakespeare',
      name,
      '--rank',
      rank,
      '--rate',
      '2e-3',
      ...more,
    );
    const { evaluation, memory, measuredMemory = {}, secondsPerStep } = report;
    const total = (of: Record<string, number>) => Object.values(of).reduce((sum, bytes) => sum + bytes, 0);
    const { before, ...after } = evaluation.perplexity;
    const loss = Math.log(after['with the adapter']);
    losses.set(method, loss);
    const bits = method === 'qlora' ? (await bitsOfNf4()).toFixed(3) : '32';
    const bytes = [memory.base, total(memory), total(measuredMemory), peakBytes].map(megabytes);
    const cells = [name, Math.log(before).toFixed(4), loss.toFixed(4), bytes[0], bits, ...bytes.slice(1)];
    console.log(`| ${cells.join(' | ')} | ${secondsPerStep.toFixed(2)} s |`);
    if (method === 'qlora')
      for (const [variant, value] of Object.entries(after))
        if (variant !== 'with the adapter') console.log(`| ${variant} | | ${Math.log(value).toFixed(4)} | | | | | | |`);
  }
  const [lora, narrow] = [losses.get('lora') as number, losses.get('qlora') as number];
  console.log(
    `\nQLoRA's loss is ${(100 * (narrow / lora - 1)).toFixed(2)} % above LoRA's (nats a token on held-out windows)`,
  );
}
await rm(work, { recursive: true });

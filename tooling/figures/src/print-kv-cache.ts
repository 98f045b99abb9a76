/**
 * `pnpm figures:kv-cache MODEL TEXT [--length 4096] [--windows 1] [--schemes int8,kivi4,...]` measures a model that
 * reads earlier tokens from a quantized cache. It prints the perplexity over the first 512, 1024, ... tokens of each
 * window, as a share above that of an f32 cache on the same tokens; the bytes of a full cache; and the processor time
 * of one token after a full cache on one thread, as a share of the time with an f32 cache. The time is the smallest of
 * eight tokens, with the caches in turns.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '@q/checkpoint';
import { languageModel, type Runtime } from '@q/core';
import { loadModel } from '@q/execution';
import { createForwardEngine } from '@q/kernels-wasm';
import { cacheBytes, KvCache, parseCacheScheme } from '@q/kv-cache';
import { createDecoder, type Decoder, type DecoderOptions } from '@q/models';
import { openTokenizer } from './stories.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    length: { type: 'string', default: '4096' },
    windows: { type: 'string', default: '1' },
    schemes: {
      type: 'string',
      default: 'int8 kivi4 kivi4,window=32 kivi4,keys=128,values=head int4 int4,rotate kivi3 kivi2 kivi2,rotate',
    },
    tokens: { type: 'string', default: '8' },
  },
});
const [folder, textFile] = positionals;
if (!folder || !textFile) throw new Error('a model folder and a text file are needed');
const length = Number(values.length);
const windows = Number(values.windows);
const schemes = values.schemes.split(' ').filter((name) => name !== '');
const decoded = Number(values.tokens);

/** Tokens that the model processes at a time, as in `q eval --cache`. */
const part = 32;

const checkpoint = await openCheckpoint(folder, []);
if (!checkpoint.model) throw new Error(`${folder}: is not a model that is known`);
const model = languageModel(checkpoint.model, 'figures:kv-cache');
// Each scheme decodes more tokens after a full f32 cache.
const needed = length + decoded * schemes.length;
if (needed > model.maxPositions)
  throw new Error(`${needed} positions are needed and the model has ${model.maxPositions}: use a smaller --length`);
const tokenizer = await openTokenizer(folder);
const ids = [...tokenizer.opening, ...tokenizer.encode(await readFile(textFile, 'utf8'))];
if (ids.length < length * windows + 1) throw new Error(`${textFile}: has ${ids.length} tokens`);
const engine = await createForwardEngine({ threads: 1 });
const loaded = await loadModel(model, engine, checkpoint);
const sizes = model.blocks.map(({ attention }) => {
  if (!attention) throw new Error('a block has no cache');
  return attention;
});

const optionsOf = (name: string | undefined): DecoderOptions => {
  if (name === undefined) return {};
  const scheme = parseCacheScheme(name);
  return { cache: (block) => new KvCache({ scheme, ...sizes[block], capacity: length + 1 + decoded }) };
};

/**
 * Negative log likelihoods of a window's tokens except the first, and the decoder with the whole window in its cache.
 */
async function scored<T>(runtime: Runtime<T>, window: number, name: string | undefined) {
  const decoder = createDecoder(model, runtime, 1, optionsOf(name));
  const own = Int32Array.from(ids.slice(window * length, (window + 1) * length));
  const nll = new Float64Array(length - 1);
  for (let start = 0; start < length; start += part) {
    const count = Math.min(part, length - start);
    const handle = decoder.appendAll(own.subarray(start, start + count));
    const logits = await runtime.ops.data(handle);
    runtime.ops.dispose(handle);
    for (let i = 0; i < count && start + i + 1 < length; i++) {
      const row = logits.subarray(i * model.vocabularySize, (i + 1) * model.vocabularySize);
      let top = Number.NEGATIVE_INFINITY;
      for (let j = 0; j < row.length; j++) top = Math.max(row[j], top);
      let sum = 0;
      for (let j = 0; j < row.length; j++) sum += Math.exp(row[j] - top);
      nll[start + i] = top + Math.log(sum) - row[own[start + i + 1]];
    }
  }
  return { nll, decoder };
}

const lengths = [512, 1024, 2048, 4096, 8192].filter((each) => each <= length);
if (!lengths.includes(length)) lengths.push(length);
const mean = (all: readonly Float64Array[], count: number) =>
  all.reduce((sum, nll) => sum + nll.subarray(0, count - 1).reduce((a, b) => a + b, 0), 0) / (all.length * (count - 1));

async function main<T>(runtime: Runtime<T>): Promise<void> {
  const plain: Float64Array[] = [];
  let f32: Decoder<T> | undefined;
  for (let window = 0; window < windows; window++) {
    const { nll, decoder } = await scored(runtime, window, undefined);
    plain.push(nll);
    if (window + 1 < windows) decoder.dispose();
    else f32 = decoder;
  }
  console.log(`${folder}, ${windows} windows of ${length} tokens of ${textFile}`);
  console.log(
    `f32: perplexity ${lengths.map((count) => `${Math.exp(mean(plain, count)).toFixed(4)} (${count})`).join(', ')}\n`,
  );
  console.log(
    `| cache | bits a value | ${lengths.map((count) => `${count} tokens`).join(' | ')} | MB | of f32 | time of a token |`,
  );
  console.log(`| ${'--- | '.repeat(lengths.length + 5)}`);
  const elements = 2 * sizes.reduce((sum, { kvHeads, headDim }) => sum + kvHeads * headDim, 0);
  /** Processor seconds of one more token. */
  const step = async (decoder: Decoder<T>, id: number) => {
    const before = process.cpuUsage();
    const handle = decoder.append(Int32Array.of(id));
    await runtime.ops.data(handle);
    const { user, system } = process.cpuUsage(before);
    runtime.ops.dispose(handle);
    return (user + system) / 1e6;
  };
  for (const name of schemes) {
    const all: Float64Array[] = [];
    let cached: Decoder<T> | undefined;
    for (let window = 0; window < windows; window++) {
      const { nll, decoder } = await scored(runtime, window, name);
      all.push(nll);
      if (window + 1 < windows) decoder.dispose();
      else cached = decoder;
    }
    let [own, other] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    // The f32 cache grows with each scheme, by a few tokens of thousands.
    for (let i = 0; i < decoded; i++) {
      own = Math.min(own, await step(cached as Decoder<T>, ids[i]));
      other = Math.min(other, await step(f32 as Decoder<T>, ids[i]));
    }
    cached?.dispose();
    const bytes = sizes.reduce((sum, each) => sum + cacheBytes(parseCacheScheme(name), each, length), 0);
    const shares = lengths.map((count) => `${(100 * Math.expm1(mean(all, count) - mean(plain, count))).toFixed(2)} %`);
    console.log(
      `| ${name} | ${((8 * bytes) / (elements * length)).toFixed(2)} | ${shares.join(' | ')} | ${(bytes / 1e6).toFixed(1)} | ${((4 * elements * length) / bytes).toFixed(1)} x less | ${(own / other).toFixed(2)} (${own.toFixed(3)} s) |`,
    );
  }
}

await main(loaded.runtime);
loaded.dispose();
await engine.dispose();
await checkpoint.close();

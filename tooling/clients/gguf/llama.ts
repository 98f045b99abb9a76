/**
 * Loads the Llamas of make.ts with llama.cpp and scores a window. The loss of the f16 file must equal PyTorch's of the
 * original, and that of quantized files must be close to it. If llama.cpp cannot start, one line states the reason.
 * `llama.ts WORK MODULE`; results go to llama.json.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Llama, type LlamaModel, startLlama } from './node-llama-cpp.js';

const [work, module] = process.argv.slice(2);
const { model: folder, shared } = JSON.parse(await readFile(join(work, 'model.json'), 'utf8'));
const result = { passed: 0, failed: 0, skipped: 0 };
const check = (good: boolean, words: string) => {
  console.log(`${good ? 'ok  ' : 'FAIL'} ${words}`);
  if (good) result.passed++;
  else result.failed++;
};

/** The most that each type may add to the loss of the f16 file. */
const allowed: Readonly<Record<string, number>> = {
  F16: 1e-3,
  Q8_0: 0.01,
  Q6_K: 0.02,
  Q5_K: 0.05,
  Q4_K: 0.1,
  Q4_0: 0.2,
  IQ4_NL: 0.2,
  IQ4_XS: 0.2,
  MXFP4: 0.3,
  Q3_K: 0.2,
  Q2_K: 0.3,
  'converted-Q8_0': 0.01,
};

async function start(): Promise<Llama | undefined> {
  try {
    return await startLlama(module);
  } catch (error) {
    console.log(`llama.cpp is left out: ${(error as Error).message}`);
    return undefined;
  }
}

/** Mean negative log-likelihood of every token except the first. */
async function loss(model: LlamaModel, tokens: readonly number[]): Promise<number> {
  const context = await model.createContext({ contextSize: 256 });
  const sequence = context.getSequence();
  const wanted = tokens.map((token, i): number | [number, { generateNext: { probabilities: true } }] =>
    i + 1 < tokens.length ? [token, { generateNext: { probabilities: true } }] : token,
  );
  const scored = await sequence.controlledEvaluate(wanted);
  let sum = 0;
  for (let i = 0; i + 1 < tokens.length; i++) sum -= Math.log(scored[i].next.probabilities.get(tokens[i + 1]) ?? 1e-30);
  await context.dispose();
  return sum / (tokens.length - 1);
}

/** The first of the shared windows, or as many tokens of the demo model's held-out text. */
async function window(model: LlamaModel): Promise<readonly number[]> {
  if (!shared) {
    const text = await readFile(join(folder, '..', 'text', 'held-out.txt'), 'utf8');
    return model.tokenize(text.slice(0, 2000)).slice(0, 200);
  }
  const ids = await readFile(join(folder, 'valid-60x256.u16'));
  return Array.from({ length: 256 }, (_, i) => ids.readUInt16LE(2 * i));
}

const llama = await start();
if (llama) {
  const files = (await readdir(work)).filter((name) => /^llama-.*\.gguf$/.test(name)).sort();
  const losses = new Map<string, number>();
  for (const file of ['llama-F16.gguf', ...files.filter((name) => name !== 'llama-F16.gguf')]) {
    const type = file.slice(6, -5);
    const model = await llama.loadModel({ modelPath: join(work, file) });
    losses.set(type, await loss(model, await window(model)));
    await model.dispose();
  }
  const base: number = shared
    ? JSON.parse(await readFile(join(folder, 'reference.json'), 'utf8')).nllFirstWindow
    : losses.get('F16');
  for (const [type, own] of losses)
    check(Math.abs(own - base) < allowed[type], `${type}: loss ${own.toFixed(4)}, ${base.toFixed(4)} in f16`);
  if (!shared) check(base < 5, `the demo model says something: loss ${base.toFixed(3)} of ${Math.log(768).toFixed(3)}`);
  await llama.dispose();
} else result.skipped++;
await writeFile(join(work, 'llama.json'), JSON.stringify(result));
process.exit(0);

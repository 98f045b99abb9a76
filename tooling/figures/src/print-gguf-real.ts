/**
 * Prints the KL divergence of GGUF files to the folder of the original model, with the bytes of each file:
 * `print-gguf-real.ts MODEL TEXT WINDOWS FILE...`. The files may come from any tool. The forward pass is ours, with the
 * values of the file.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cutWindows, splitDocuments, tokenStream } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { evaluate, runWindows } from '@q/eval';
import { createForwardEngine } from '@q/kernels-wasm';
import { loadTokenizer } from '@q/models';

const [folder, text, count, ...files] = process.argv.slice(2);
const length = 256;
const checkpoint = await openCheckpoint(folder, []);
const { model } = checkpoint;
if (!model) throw checkpoint.unknownArchitecture;
const json = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));
const tokenizer = loadTokenizer({
  tokenizer: await json('tokenizer.json'),
  config: await json('tokenizer_config.json'),
  model: checkpoint.config,
});
const windows = cutWindows(
  tokenStream(splitDocuments(await readFile(text, 'utf8')), tokenizer, {
    limit: Number(count) * length,
    window: length,
  }),
  length,
  { count: Number(count), skip: 0, name: text },
);
const engine = await createForwardEngine({});
const original = await runWindows(model, engine, (name) => checkpoint.weight(name), windows, { batch: 8 });
console.log('| file | bytes | KL, mean | 99.9 % of tokens | same top token |');
console.log('|---|---|---|---|---|');
for (const file of files) {
  const source = await openCheckpoint(file, []);
  const own = await runWindows(model, engine, (name) => source.weight(name), windows, { batch: 8 });
  const { kl, klP999, topAgreement } = await evaluate(own, windows, { against: original });
  const { size } = await stat(file);
  console.log(
    `| ${file.replace(/^.*\//, '')} | ${size} | ${kl?.toFixed(5)} | ${klP999?.toFixed(4)} | ${((topAgreement ?? 0) * 100).toFixed(2)} % |`,
  );
  await source.close();
}
await engine.dispose();
await checkpoint.close();

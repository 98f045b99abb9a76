/**
 * Computes vectors of sentences with transformers.js, and the time of one: `embed-sentences.mjs MODULES FOLDER DTYPE
 * SENTENCES OUT`. It uses two threads; the time is the median of three passes over all sentences, after one pass of
 * warm-up.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, folder, dtype, list, out] = process.argv.slice(2);
const { pipeline, env } = await import(
  pathToFileURL(join(modules, '@huggingface/transformers/dist/transformers.node.mjs')).href
);
env.allowRemoteModels = false;
env.localModelPath = '/';
const sentences = JSON.parse(await readFile(list, 'utf8'));
const extract = await pipeline('feature-extraction', folder, {
  dtype,
  session_options: { logSeverityLevel: 3, intraOpNumThreads: 2 },
});
let vectors = [];
const times = [];
for (let pass = 0; pass < 4; pass++) {
  const started = performance.now();
  vectors = [];
  for (const sentence of sentences)
    vectors.push((await extract(sentence, { pooling: 'mean', normalize: true })).data.slice());
  if (pass > 0) times.push((performance.now() - started) / sentences.length);
}
const all = new Float32Array(vectors.length * vectors[0].length);
for (const [at, vector] of vectors.entries()) all.set(vector, at * vector.length);
await writeFile(out, new Uint8Array(all.buffer));
console.log(JSON.stringify({ milliseconds: times.sort((a, b) => a - b)[1] }));
process.exit(0);

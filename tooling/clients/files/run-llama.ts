/**
 * Runs GGUF files with llama.cpp, and prints the deviation of each: `run-llama.ts CELLS MODULE`, one line of JSON a
 * file.
 */
import { readFile } from 'node:fs/promises';
import { type Llama, startLlama } from '../gguf/node-llama-cpp.js';
import { cosine, divergence } from '../onnx/compare-values.js';
import { type Cell, type CellResult, keyOf } from './cell.js';
import { readFloats } from './read-floats.js';

const [list, module] = process.argv.slice(2) as [string, string];
const cells = JSON.parse(await readFile(list, 'utf8')) as Cell[];
const llama = await startLlama(module);

async function logitsOf({ loadModel }: Llama, { file, ids }: Cell, width: number): Promise<Float32Array> {
  const model = await loadModel({ modelPath: file });
  const context = await model.createContext({ contextSize: 64 });
  const wanted = ids.map((id) => [id, { generateNext: { logits: true } }] as const);
  const rows = await context.getSequence().controlledEvaluate(wanted as never);
  const out = new Float32Array(ids.length * width);
  for (const [row, { next }] of rows.entries()) for (const [id, logit] of next.logits) out[row * width + id] = logit;
  await model.dispose();
  return out;
}

async function vectorOf({ loadModel }: Llama, { file, ids }: Cell): Promise<Float32Array> {
  const model = await loadModel({ modelPath: file });
  const context = await model.createEmbeddingContext({ contextSize: 64 });
  const length = context.calculateInputLength([...ids]);
  if (length !== ids.length) throw new Error(`llama.cpp makes ${length} tokens of ${ids.length}`);
  const { vector } = await context.getEmbeddingFor([...ids]);
  await model.dispose();
  return Float32Array.from(vector);
}

const bound = { loadModel: llama.loadModel.bind(llama), dispose: llama.dispose.bind(llama) };
for (const cell of cells) {
  const reference = await readFloats(cell.reference);
  const width = reference.length / cell.ids.length;
  let result: CellResult;
  try {
    const own = await (cell.encoder ? vectorOf(bound, cell) : logitsOf(bound, cell, width));
    const off = cell.encoder ? 1 - cosine(reference, own) : divergence(reference, own, width);
    result = { key: keyOf(cell), off };
  } catch (error) {
    result = { key: keyOf(cell), reason: (error as Error).message };
  }
  console.log(JSON.stringify(result));
}
process.exit(0);

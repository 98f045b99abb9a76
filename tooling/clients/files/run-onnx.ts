/**
 * Runs ONNX files with onnxruntime-node, and prints the deviation of each: `run-onnx.ts CELLS MODULES`, one line of
 * JSON a file.
 */
import { readFile } from 'node:fs/promises';
import { cosine, divergence } from '../onnx/compare-values.js';
import { loadOnnxruntime } from '../onnx/onnxruntime.js';
import { type Cell, type CellResult, keyOf } from './cell.js';
import { readFloats } from './read-floats.js';

const [list, modules] = process.argv.slice(2) as [string, string];
const cells = JSON.parse(await readFile(list, 'utf8')) as Cell[];
const { open, emptyPast, decode, encode } = await loadOnnxruntime(modules);
const ones = (count: number) => [new Array<number>(count).fill(1)];

/** Runs half of the text at once, then the rest token by token with the cache. */
async function logitsOf({ file, ids }: Cell): Promise<Float32Array> {
  const session = await open(file);
  const half = ids.length >> 1;
  let { logits, past } = await decode(session, [ids.slice(0, half)], ones(half), emptyPast(session, 1));
  const parts = [logits];
  for (let at = half; at < ids.length; at++) {
    ({ logits, past } = await decode(session, [[ids[at]]], ones(at + 1), past));
    parts.push(logits);
  }
  await session.release();
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let filled = 0;
  for (const part of parts) {
    all.set(part, filled);
    filled += part.length;
  }
  return all;
}

async function vectorOf({ file, ids }: Cell): Promise<Float32Array> {
  const session = await open(file);
  const { sentence_embedding } = await encode(session, [ids], ones(ids.length));
  await session.release();
  return sentence_embedding.data as Float32Array;
}

for (const cell of cells) {
  const reference = await readFloats(cell.reference);
  let result: CellResult;
  try {
    const own = await (cell.encoder ? vectorOf(cell) : logitsOf(cell));
    const off = cell.encoder
      ? 1 - cosine(reference, own)
      : divergence(reference, own, reference.length / cell.ids.length);
    result = { key: keyOf(cell), off };
  } catch (error) {
    result = { key: keyOf(cell), reason: (error as Error).message };
  }
  console.log(JSON.stringify(result));
}
process.exit(0);

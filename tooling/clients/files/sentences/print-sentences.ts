/**
 * Prints bytes, cosines and milliseconds of an encoder's files in transformers.js: `print-sentences.ts WORK MODULES
 * PYTHON MODEL TEXT [SENTENCES]`. Sentences are run one by one; each file has a separate process.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cosine } from '../../onnx/compare-values.js';
import { runCommand } from '../run-command.js';

const [work, modules, python, model, text, count = '200'] = process.argv.slice(2) as string[];
const run = promisify(execFile);
const sentences = (await readFile(text, 'utf8'))
  .split('\n')
  .flatMap((line) => line.split(/(?<=[.!?]) +/))
  .map((line) => line.trim())
  .filter((line) => line.length >= 40 && line.length <= 300 && !line.startsWith('='))
  .slice(0, Number(count));
await writeFile(join(work, 'sentences.json'), JSON.stringify(sentences));
await writeFile(join(work, 'calibration.txt'), (await readFile(text, 'utf8')).slice(-200_000));

interface Row {
  readonly words: string;
  readonly folder: string;
  readonly dtype: string;
  readonly file: string;
}

const folder = join(work, 'ours');
const rows: Row[] = [];
for (const type of ['fp32', 'fp16', 'q8', 'uint8', 'int8', 'q4']) {
  const { files } = await runCommand('convert', model, folder, '--to', 'onnx', '--type', type);
  rows.push({ words: `q convert --type ${type}`, folder, dtype: type, file: (files as string[])[0] });
}
/** Types whose codes a method computes, and whose input scales are calibrated. */
const calibrated = [
  ['uint8', 'smoothquant', ['--level', 'o3']],
  ['int8', 'gptq', []],
  ['q4', 'gptq', []],
] as const;
for (const [type, method, more] of calibrated) {
  const own = join(work, `${type}-${method}`);
  const calib = ['--calib', join(work, 'calibration.txt'), '--samples', '32', '--length', '128'];
  const { files } = await runCommand(
    ...['convert', model, own, '--to', 'onnx', '--type', type, '--method', method, ...more, ...calib],
  );
  rows.push({
    ...{ words: `q convert --type ${type} --method ${[method, ...more].join(' ')}`, folder: own, dtype: type },
    file: (files as string[])[0],
  });
}
// This file only has operators of ONNX, like those of other exporters, because onnxruntime's quantizer does not support
// onnxruntime's own operators.
const plain = join(work, 'plain');
await runCommand('convert', model, plain, '--to', 'onnx', '--type', 'fp32', '--portable');
for (const how of [['uint8'], ['int8'], ['int8', 'per-channel']]) {
  const own = join(work, how.join('-'));
  await mkdir(join(own, 'onnx'), { recursive: true });
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(folder, name), join(own, name));
  const file = 'onnx/model_quantized.onnx';
  const script = new URL('quantize_dynamic.py', import.meta.url).pathname;
  await run(python, [script, join(plain, 'onnx/model.onnx'), join(own, file), ...how]);
  rows.push({ words: `quantize_dynamic, ${how.join(', ')}`, folder: own, dtype: 'q8', file });
}

const embed = new URL('embed-sentences.mjs', import.meta.url).pathname;
let reference: readonly Float32Array[] | undefined;
console.log('| file | bytes | cosine, mean | least | ms a sentence |');
console.log('|---|---|---|---|---|');
for (const { words, folder: own, dtype, file } of rows) {
  const out = join(work, 'vectors.f32');
  const { stdout } = await run(process.execPath, [embed, modules, own, dtype, join(work, 'sentences.json'), out]);
  const bytes = await readFile(out);
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const width = all.length / sentences.length;
  const vectors = sentences.map((_, at) => all.slice(at * width, (at + 1) * width));
  reference ??= vectors;
  const cosines = vectors.map((vector, at) => cosine((reference as readonly Float32Array[])[at], vector));
  const mean = cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
  const { size } = await stat(join(own, file));
  const { milliseconds } = JSON.parse(stdout);
  console.log(
    `| ${words} | ${size.toLocaleString('en')} | ${mean.toFixed(5)} | ${Math.min(...cosines).toFixed(4)} | ${milliseconds.toFixed(2)} |`,
  );
}

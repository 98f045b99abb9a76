/** `check.ts WORK MODULES CHROMIUM REPORT`: see the script `run`. */
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runCommand } from '../files/run-command.js';
import { divergence } from '../onnx/compare-values.js';
import { openPage } from './open-page.js';

const [work, modules, chromium, report] = process.argv.slice(2) as [string, string, string, string];
const demo = fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url));
const { vocab_size: width } = JSON.parse(await readFile(join(demo, 'config.json'), 'utf8'));
const ids = Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % width);
const run = promisify(execFile);

interface Case {
  readonly name: string;
  readonly file: string;
  /** DynamicQuantizeLinear and MatMulInteger have no WebGPU kernels there, so they run on the processor. */
  readonly webgpu: boolean;
}
const cases: Case[] = [];
for (const type of ['fp32', 'q8', 'q4', 'q4f16', 'q2', 'uint8', 'int8']) {
  const out = join(work, 'model');
  const { files } = await runCommand('convert', demo, out, '--to', 'onnx', '--type', type);
  cases.push({ name: type, file: join(out, (files as string[])[0]), webgpu: !type.includes('int8') });
}

/** Logits of a provider of onnxruntime-node in a separate process. A process that crashes is a failed case. */
async function inNode(file: string, provider: string): Promise<Float32Array> {
  const script = fileURLToPath(new URL('logits.mjs', import.meta.url));
  const { Q_VULKAN_LIBRARIES: libraries, Q_VULKAN_DRIVER: driver } = process.env;
  const vulkan =
    provider === 'webgpu' && driver
      ? { LD_LIBRARY_PATH: libraries, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver }
      : {};
  const env = { ...process.env, ...vulkan };
  const out = join(work, 'logits.f32');
  await run(process.execPath, [script, modules, file, provider, JSON.stringify(ids), out], { env });
  const bytes = await readFile(out);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

const result = { passed: 0, failed: 0, skipped: 0 };
/** Types with intermediate results of 8 or 16 bits have other last bits in other kernels. */
const limits: Readonly<Record<string, number>> = { fp32: 1e-9, q4: 1e-9, q2: 1e-9 };
function check(name: string, type: string, reference: Float32Array, actual: Float32Array | Error): void {
  const off = actual instanceof Error ? Number.NaN : divergence(reference, actual, width);
  const good = off < (limits[type] ?? 5e-3);
  if (good) result.passed++;
  else result.failed++;
  const words = actual instanceof Error ? actual.message : `${off.toExponential(1)} nats`;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${type}, ${name}: ${words}`);
}

const settle = <T>(promise: Promise<T>) =>
  promise.catch((error) => new Error((error as Error).message.split('\n').slice(0, 3).join(' ').slice(0, 300)));
const references = new Map<string, Float32Array>();
for (const { name, file, webgpu } of cases) {
  const reference = await inNode(file, 'cpu');
  references.set(name, reference);
  if (webgpu) check("onnxruntime-node's WebGPU", name, reference, await settle(inNode(file, 'webgpu')));
}
const page = await openPage(chromium, {
  work,
  files: (path) => {
    const own = cases.find(({ name }) => path === `/${name}.onnx`);
    if (own) return createReadStream(own.file);
    return path.startsWith('/ort/') && !path.includes('..')
      ? createReadStream(join(modules, 'onnxruntime-web/dist', path.slice(5)))
      : undefined;
  },
  script: await readFile(new URL('page.mjs', import.meta.url), 'utf8'),
  settings: { ids, names: cases.map(({ name }) => name) },
});
for (const { name } of cases) {
  const found = page.get(name);
  const actual = Array.isArray(found) ? Float32Array.from(found) : new Error(found ?? 'the page gave nothing');
  check('onnxruntime-web in Chromium', name, references.get(name) as Float32Array, actual);
}
console.log(`${result.passed} passed, ${result.failed} failed`);
await writeFile(report, `${JSON.stringify(result)}\n`);
process.exit(result.failed > 0 ? 1 : 0);

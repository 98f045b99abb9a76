/**
 * Reads the adapters that PEFT has written and compares our logits with PEFT's. Adds the results to the report of
 * check.py.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, readAdapter } from '@q/checkpoint';
import { createWasmKernels } from '@q/kernels-wasm';
import { adaptedLogits, models, readFloats } from './models.js';

const [, , work, reportPath] = process.argv;
const report = JSON.parse(await readFile(reportPath, 'utf8'));
const kernels = await createWasmKernels();
for (const [name, folder] of Object.entries(models)) {
  const written = join(work, `${name}-python`);
  const checkpoint = await openCheckpoint(folder, []);
  const adapter = await readAdapter(written);
  const ours = await adaptedLogits(checkpoint, adapter, kernels);
  const theirs = await readFloats(join(written, 'logits.f32'));
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  const distance = norm(ours.map((x, i) => x - theirs[i])) / norm(theirs);
  const good = distance < 2e-5;
  console.log(
    `${good ? 'ok  ' : 'FAIL'} ${name}: an adapter of PEFT, ${adapter.modules.size} linears, relative distance ${distance.toExponential(2)}`,
  );
  report[good ? 'passed' : 'failed']++;
  await checkpoint.close();
}
await kernels.dispose();
await writeFile(reportPath, JSON.stringify(report));
if (report.failed > 0) process.exit(1);

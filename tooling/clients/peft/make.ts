/** Writes adapters with factors on every linear, each with the logits of our own forward pass on the merged weights. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, writeAdapter } from '@q/checkpoint';
import { createRandom, type LowRankAdapter, tensor } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { adaptedLogits, ids, models } from './models.js';

const out = process.argv[2];
const kernels = await createWasmKernels();
for (const [name, folder] of Object.entries(models)) {
  const checkpoint = await openCheckpoint(folder, []);
  const { model } = checkpoint;
  if (!model) throw checkpoint.unknownArchitecture as Error;
  const random = createRandom(name);
  const factor = (rows: number, columns: number, size: number) =>
    tensor(
      'f32',
      [rows, columns],
      Float32Array.from({ length: rows * columns }, () => size * random.normal()),
    );
  const linears = model.blocks.flatMap((block) => block.linears);
  const modules = new Map(
    linears.map(({ module, inFeatures, outFeatures }) => [
      module,
      { a: factor(4, inFeatures, 0.2), b: factor(outFeatures, 4, 0.02) },
    ]),
  );
  const adapter: LowRankAdapter = { rank: 4, alpha: 6, dropout: 0.1, modules };
  const target = join(out, name);
  await mkdir(target, { recursive: true });
  await writeAdapter(target, adapter, model, folder);
  await writeFile(join(target, 'ids.json'), JSON.stringify([...ids]));
  await writeFile(
    join(target, 'logits.f32'),
    new Uint8Array((await adaptedLogits(checkpoint, adapter, kernels)).buffer),
  );
  await checkpoint.close();
  console.log(`wrote an adapter for ${name}`);
}
await kernels.dispose();

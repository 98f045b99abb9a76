/** Writes small gpt-oss folders in every form that readers support, each with the logits of our own forward pass. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { joinStacks, mxfp4Layout, openCheckpoint, planCast, writeCast } from '@q/checkpoint';
import { createContext, createRandom, fromF32, schemes } from '@q/core';
import { runWindows } from '@q/eval';
import { gptq } from '@q/gptq';
import { describeModel, stacksOf } from '@q/models';
import { planRun, type Recipe, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { createShardWriter, planShards } from '@q/safetensors';
import { createEngine } from '@q/tfjs';
import { tinyGptOss } from '../../../packages/cli/src/testing/tiny-mixture.js';

const out = process.argv[2] as string;
const config = {
  ...tinyGptOss,
  sliding_window: 8,
  layer_types: ['sliding_attention', 'full_attention'],
  rope_scaling: {
    ...{ rope_type: 'yarn', factor: 4, beta_fast: 32, beta_slow: 1, truncate: false },
    original_max_position_embeddings: 16,
  },
  rope_theta: 150000,
};
const layout = mxfp4Layout();
const random = createRandom(5);
const length = 24;
const ids = Int32Array.from({ length: 32 * length }, () => random.integer(config.vocab_size));
const windows = { ids, count: 32, length };

async function writeModel(folder: string): Promise<void> {
  await mkdir(folder);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const { expected } = describeModel(config);
  const tensors = [...expected].map(([name, shape]) => ({ name, dtype: 'F32' as const, shape }));
  const writer = await createShardWriter(folder, planShards(joinStacks(tensors, stacksOf(config))));
  for (const [name, shape] of expected) {
    const [rows = 1, columns = 1] = shape;
    const [scale, centre] =
      shape.length === 1 ? [0.1, name.endsWith('norm.weight') ? 1 : 0] : [1 / Math.sqrt(columns), 0];
    const values = Float32Array.from({ length: rows * columns }, () => centre + scale * random.normal());
    await writer.write(name, fromF32('f32', shape, values));
  }
  await writer.finish();
}

/** Writes the logits of the first window, for the check. */
async function writeLogits(folder: string): Promise<void> {
  const checkpoint = await openCheckpoint(folder, [layout]);
  if (!checkpoint.model) throw checkpoint.unknownArchitecture;
  const engine = await createEngine({ backend: 'cpu' });
  const run = await runWindows(checkpoint.model, engine, (name) => checkpoint.weight(name), windows);
  await writeFile(join(folder, 'logits.f32'), await run.logits(0, 1));
  await writeFile(join(folder, 'ids.json'), JSON.stringify([...ids.subarray(0, length)]));
  await engine.dispose();
  await checkpoint.close();
}

const original = join(out, 'original');
await writeModel(original);
const recipes: Record<string, Recipe> = {
  'mxfp4-rtn': { layout, rules: [{ match: /experts/, quantizer: rtn(), scheme: schemes.mxfp4 }], seed: 0 },
  'mxfp4-gptq': { layout, rules: [{ match: /experts/, quantizer: gptq(), scheme: schemes.mxfp4 }], seed: 0 },
};
for (const [name, recipe] of Object.entries(recipes)) {
  const checkpoint = await openCheckpoint(original, []);
  const folder = join(out, name);
  await mkdir(folder);
  const context = createContext();
  await runPlan(planRun(checkpoint, recipe), {
    out: folder,
    context,
    calibration: windows,
    engine: () => createEngine(),
  });
  await checkpoint.close();
}
const source = await openCheckpoint(original, []);
await mkdir(join(out, 'cast-f16'));
await writeCast(source, planCast(source, 'f16'), join(out, 'cast-f16'));
await source.close();
for (const name of ['original', 'cast-f16', ...Object.keys(recipes)]) await writeLogits(join(out, name));

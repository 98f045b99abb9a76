import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '@q/checkpoint';
import { foldEdge, type Tensor } from '@q/core';
import { createShardWriter, planShards } from '@q/safetensors';

/**
 * Writes a model with the same function and with outlier channels, which large language models have. In each norm
 * before linears, `channels` gains are multiplied by `factor`, and the columns that read them are divided by it.
 */
export async function plantOutliers(folder: string, out: string, channels: number, factor: number): Promise<void> {
  const source = await openCheckpoint(folder, []);
  const { model } = source;
  if (!model) throw source.unknownArchitecture as Error;
  const changed = new Map<string, Tensor<'f32'>>();
  for (const block of model.blocks) {
    for (const edge of block.edges.filter(({ producer }) => producer.kind === 'norm')) {
      const names = [edge.producer.module, ...edge.consumers].flatMap((module) => [
        `${module}.weight`,
        `${module}.bias`,
      ]);
      const weights = new Map<string, Tensor<'f32'>>();
      for (const name of names) if (source.tensors.has(name)) weights.set(name, await source.weight(name));
      const width = (weights.get(`${edge.producer.module}.weight`) as Tensor).shape[0];
      const scales = new Float32Array(width).fill(1);
      // The channels are evenly spaced. Their positions do not matter; they are the same in every block, as in real
      // models.
      for (let i = 0; i < channels; i++) scales[Math.floor(((i + 0.5) * width) / channels)] = 1 / factor;
      for (const [name, values] of foldEdge(edge, scales, weights).weights) changed.set(name, values);
    }
  }
  await write(source, out, changed);
  await source.close();
}

async function write(source: Checkpoint, out: string, changed: ReadonlyMap<string, Tensor<'f32'>>): Promise<void> {
  await mkdir(out, { recursive: true });
  const linears = new Map(source.model?.blocks.flatMap(({ linears }) => linears).map((each) => [each.module, each]));
  const plan = planShards(
    [...source.tensors].map(([name, { dtype, shape }]) => ({ name, dtype: changed.has(name) ? 'F32' : dtype, shape })),
    {},
  );
  const shards = await createShardWriter(out, plan);
  for (const [name, { begin, end }] of source.tensors) {
    const values = changed.get(name);
    if (!values) await shards.writeBytes(name, await source.readBytes(name, 0, end - begin), 0);
    else await shards.write(name, linears.get(name.replace(/\.weight$/, ''))?.transposed ? transposed(values) : values);
  }
  await shards.finish();
  for (const name of ['config.json', ...source.otherFiles]) await cp(join(source.path, name), join(out, name));
}

function transposed({ shape: [rows, columns], data }: Tensor<'f32'>): Tensor<'f32'> {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j];
  return { dtype: 'f32', shape: [columns, rows], data: out };
}

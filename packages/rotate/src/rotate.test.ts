import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createContext, createRandom, type Tensor, tensor } from '@q/core';
import { describeModel } from '@q/models';
import { openShards } from '@q/safetensors';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rotateKeys, rotateMlpInner } from './online.js';
import { rotate } from './rotate.js';
import { type Config, logitsOf, relativeDifference, rewrite, sourceOf } from './testing/rewritten-logits.js';
import { normsBehindLinears, smallModels } from './testing/small-models.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

/** Normal weights, gains from 0.3 to 3 with both signs, biases that matter; one channel is an outlier. */
function randomWeights(config: Config): (name: string) => Tensor {
  const { expected, residualStream } = describeModel(config);
  const gains = new Set(residualStream!.norms.map(({ module }) => `${module}.weight`));
  return (name) => {
    const shape = expected.get(name)!;
    const random = createRandom(name);
    const size = shape.reduce((product, n) => product * n, 1);
    const value = () => {
      if (gains.has(name)) return 3 ** (2 * random.uniform() - 1) * (random.uniform() < 0.2 ? -1 : 1);
      return random.normal() * (shape.length === 1 ? 0.5 : 0.3);
    };
    const data = Float32Array.from({ length: size }, value);
    if (shape.length === 2) for (let i = 3; i < size; i += shape[1]) data[i] *= 8;
    return tensor('f32', shape, data);
  };
}

const ids = Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6, 60, 0, 7, 7);
const cases = Object.entries(smallModels).map(([name, config]) => ({ name, config }));

describe.each(cases)('$name', ({ config }) => {
  const plain = describeModel(config);
  const source = sourceOf(plain, randomWeights(config));

  it('computes the same logits after rotation, online parts included', async () => {
    const { ops } = engine;
    const before = await logitsOf(plain, source, ops, { ids, batch: 2 });
    const variants = [{}, { values: false }, { residual: false }, { mlpInner: true }];
    for (const options of variants) {
      const { model, rewritten } = rewrite(config, source, rotate(options), 5);
      const online = options.mlpInner ? [rotateMlpInner(model, ops, createContext({ seed: 5 }).random)] : [];
      const after = await logitsOf(model, rewritten, ops, { ids, batch: 2 }, online);
      expect(relativeDifference(after, before), JSON.stringify(options)).toBeLessThan(2e-6);
      if (online.length === 0) continue;
      const without = await logitsOf(model, rewritten, ops, { ids, batch: 2 });
      expect(relativeDifference(without, before)).toBeGreaterThan(0.1);
      online[0].dispose();
    }
  });

  it('computes the same logits with rotated keys and queries', async () => {
    const { ops } = engine;
    const online = rotateKeys(plain, ops, createRandom(1));
    const after = await logitsOf(plain, source, ops, { ids, batch: 2 }, [online]);
    expect(relativeDifference(after, await logitsOf(plain, source, ops, { ids, batch: 2 }))).toBeLessThan(2e-6);
    online.dispose();
  });

  it('says beforehand what changes', async () => {
    const { rewritten, model } = rewrite(config, source, rotate());
    for (const name of model.expected.keys()) {
      const { shape, data } = await rewritten.weight(name);
      const announced = rewritten.changed.get(name);
      const before = plain.expected.has(name) ? (await source.weight(name)).data : undefined;
      if (announced) expect(shape, name).toEqual(announced);
      expect(before !== undefined && data.every((value, i) => value === before[i]), name).toBe(!announced);
    }
    for (const name of rewritten.changed.keys()) expect(model.expected.has(name), name).toBe(true);
    expect(rewritten.config).toEqual(plain.ties.size > 0 ? { tie_word_embeddings: false } : {});
    for (const { module, kind, consumers, gainOffset } of model.residualStream!.norms) {
      const weight = 1 - (gainOffset ?? 0);
      expect(new Set((await rewritten.weight(`${module}.weight`)).data)).toEqual(new Set([weight]));
      const taken = consumers.every((consumer) => model.expected.has(`${consumer}.bias`));
      if (kind === 'layer' && taken) {
        expect(new Set((await rewritten.weight(`${module}.bias`)).data)).toEqual(new Set([0]));
      }
    }
  });
});

describe.each(Object.entries(normsBehindLinears))('%s', (_, config) => {
  it('has the values of its heads rotated, and says by name why no more', async () => {
    const { ops } = engine;
    const plain = describeModel(config);
    expect(rotate().refuse!(plain)).toMatch(
      /post_attention_layernorm comes between a linear and the residual sum.*Rotate only the values of the heads/,
    );
    const source = sourceOf(plain, randomWeights(config));
    const before = await logitsOf(plain, source, ops, { ids, batch: 2 });
    const { model, rewritten } = rewrite(config, source, rotate({ residual: false }), 5);
    expect(rewritten.changed.size).toBe(4);
    expect(relativeDifference(await logitsOf(model, rewritten, ops, { ids, batch: 2 }), before)).toBeLessThan(2e-6);
  });
});

describe('a rotation', () => {
  const config = smallModels['mistral, window'];
  const source = sourceOf(describeModel(config), randomWeights(config));
  const name = 'model.layers.1.self_attn.o_proj.weight';

  it('depends on the seed alone', async () => {
    const read = async (seed: number) => (await rewrite(config, source, rotate(), seed).rewritten.weight(name)).data;
    expect(await read(1)).toEqual(await read(1));
    expect(await read(1)).not.toEqual(await read(2));
  });

  it('spreads the outlier channel', async () => {
    const ratio = async (from: { weight(name: string): Promise<Tensor<'f32'>> }) => {
      const { data } = await from.weight('model.layers.0.mlp.up_proj.weight');
      const deviation = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
      return data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / deviation;
    };
    expect(await ratio(source)).toBeGreaterThan(8);
    expect(await ratio(rewrite(config, source, rotate()).rewritten)).toBeLessThan(5.5);
  });

  it('keeps lengths of what it turns', async () => {
    const { rewritten } = rewrite(config, source, rotate());
    const norm = async (from: { weight(name: string): Promise<Tensor<'f32'>> }) =>
      Math.sqrt((await from.weight(name)).data.reduce((sum, value) => sum + value * value, 0));
    expect((await norm(rewritten)) / (await norm(source))).toBeCloseTo(1, 6);
  });

  it('that runs online says so', () => {
    expect(rotate({ mlpInner: true }).online).toMatch(/down projections \(R4\)/);
    expect(rotate().online).toBeUndefined();
  });
});

describe('is refused, by name,', () => {
  const opt = smallModels['opt, tied'];
  const llama = smallModels['mistral, window'];
  const describeWith = (change: Config, names?: string[]) =>
    describeModel({ ...opt, ...change }, undefined, names && new Set(names));
  it('where norms come after the sum', () => {
    const model = describeWith({ do_layer_norm_before: false });
    expect(rotate().refuse!(model)).toMatch(/layers\.0\.self_attn_layer_norm comes after the residual sum/);
    expect(rotate({ residual: false }).refuse!(model)).toBeUndefined();
  });

  it('where a tied head has no file to go to', () => {
    const bare = describeWith({}, ['decoder.embed_tokens.weight']);
    expect(rotate().refuse!(bare)).toMatch(/lm_head.weight is tied to decoder.embed_tokens.weight.*without its head/);
    expect(
      rotate().refuse!(describeWith({ tie_word_embeddings: false }, ['decoder.embed_tokens.weight'])),
    ).toBeUndefined();
    const gpt2 = describeModel(smallModels['gpt2, tied, fused qkv'], undefined, new Set(['wte.weight']));
    expect(rotate().refuse!(gpt2)).toMatch(/lm_head.weight is tied to wte.weight/);
  });

  it('where a size has too large an odd part', () => {
    const wide = describeModel({ ...llama, hidden_size: 2062, head_dim: 8 });
    expect(rotate().refuse!(wide)).toMatch(/size 2062 needs a full matrix of order 1031/);
    const inner = describeModel({ ...llama, intermediate_size: 1031 });
    expect(rotate({ mlpInner: true }).refuse!(inner)).toMatch(/layers.0.mlp.down_proj: a rotation of size 1031/);
    expect(rotate().refuse!(inner)).toBeUndefined();
    expect(() => rotate().apply(wide, sourceOf(wide, randomWeights(llama)), createContext())).toThrow(
      /^rotate: .*1031/,
    );
  });

  it('where the architecture says too little', () => {
    const { residualStream: _, ...silent } = describeModel(llama);
    expect(rotate().refuse!(silent)).toMatch(/mistral does not declare the readers and writers of its residual stream/);
    const blocks = silent.blocks.map(({ attention: _attention, mlpOutputs: _outputs, ...block }) => block);
    const values = { ...silent, blocks };
    expect(rotate({ residual: false }).refuse!(values)).toMatch(/layers.0 does not declare the heads/);
    const inner = { residual: false, values: false, mlpInner: true };
    expect(rotate(inner).refuse!(values)).toMatch(/layers.0 does not declare the down projections/);
    const mixed = describeModel(llama);
    const norms = mixed.residualStream!.norms.map((norm, i) => (i === 0 ? { ...norm, kind: 'layer' as const } : norm));
    expect(rotate().refuse!({ ...mixed, residualStream: { ...mixed.residualStream!, norms } })).toMatch(
      /mixes RMS norms/,
    );
  });

  it('when nothing is asked for', () => {
    expect(rotate({ residual: false, values: false }).refuse!(describeModel(llama))).toMatch(/no rotation/);
  });

  it('when a gain of 0 hides a bias from a head that cannot take it', async () => {
    const config = smallModels['gpt2, tied, fused qkv'];
    const model = describeModel(config);
    const read = randomWeights(config);
    const source = sourceOf(model, (name) => {
      const found = read(name);
      return name === 'transformer.ln_f.weight'
        ? tensor('f32', found.shape, (found.data as Float32Array).fill(0, 4, 5))
        : found;
    });
    const { rewritten } = rewrite(config, source, rotate());
    await expect(rewritten.weight('transformer.ln_f.bias')).rejects.toThrow(
      /transformer.ln_f: channel 4 has weight 0 and bias/,
    );
  });
});

const shared = process.env['QUANT_SHARED'];

describe.runIf(shared)('the shared model', () => {
  it.each(['llama-5m', 'gpt2-3m', 'opt-3m'])('%s computes the same logits', async (name) => {
    const folder = join(shared as string, 'models', name);
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
    const model = describeModel(config);
    const shards = await openShards(folder);
    const source = sourceOf(model, (name) => shards.read(name));
    const windows = await readFile(join(folder, 'valid-60x256.u16'));
    const valid = Int32Array.from({ length: 32 }, (_, i) => windows.readUInt16LE(2 * i));
    const wasm = await createEngine({ backend: 'wasm' });
    const before = await logitsOf(model, source, wasm.ops, { ids: valid, batch: 1 });
    const rotated = rewrite(config, source, rotate({ mlpInner: true }));
    const { random } = createContext({ seed: 0 });
    const online = [rotateMlpInner(rotated.model, wasm.ops, random), rotateKeys(rotated.model, wasm.ops, random)];
    const after = await logitsOf(rotated.model, rotated.rewritten, wasm.ops, { ids: valid, batch: 1 }, online);
    expect(relativeDifference(after, before)).toBeLessThan(1e-5);
    for (const each of online) each.dispose();
    await shards.close();
    await wasm.dispose();
  });
});

import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readAdapter } from '@q/checkpoint';
import { type Tensor, tensor } from '@q/core';
import { ggufTensorTypeOf, planGgufFile, readGgufHeader, readGgufTensor } from '@q/gguf';
import { fileDtype, fromBytes, openShards, planShards, readHeader, readTensor } from '@q/safetensors';
import { mutateBytes, mutateJsonText } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));

function safetensorsBytes(tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  const plan = planShards([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype: fileDtype(dtype), shape })));
  const out = new Uint8Array(plan.byteLength);
  out.set(plan.files[0].header);
  for (const [name, { data }] of tensors)
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), plan.places.get(name)?.begin);
  return out;
}

/** One safetensors file: its header, and every tensor that it says to hold. */
export function safetensorsParser(): FuzzedParser {
  const whole = safetensorsBytes(
    new Map<string, Tensor>([
      ['model.embed.weight', tensor('f32', [4, 2], values(8))],
      ['a.qweight', tensor('i32', [2, 2])],
      ['a.scales', tensor('f16', [3])],
    ]),
  );
  const length = Number(new DataView(whole.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(whole.subarray(8, 8 + length)));
  return {
    name: 'safetensors',
    async run(random) {
      let bytes = whole;
      if (random.integer(2) === 0) {
        const text = new TextEncoder().encode(mutateJsonText(header, random));
        bytes = new Uint8Array(8 + text.length + whole.length - 8 - length);
        new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
        bytes.set(text, 8);
        bytes.set(whole.subarray(8 + length), 8 + text.length);
      } else bytes = mutateBytes(whole, random);
      const source = fromBytes(bytes, 'x.safetensors');
      const { tensors } = await readHeader(source);
      for (const entry of tensors.values()) await readTensor(source, entry);
      return { bytes: bytes.length };
    },
  };
}

/** One GGUF file: its header, and every tensor of a type that is read. */
export function ggufParser(): FuzzedParser {
  const [f32, q4] = [0, 2].map((id) => ggufTensorTypeOf(id) as NonNullable<ReturnType<typeof ggufTensorTypeOf>>);
  const plan = planGgufFile(
    new Map([
      ['general.architecture', { type: 'string', value: 'llama' }],
      ['general.alignment', { type: 'u32', value: 32 }],
      ['tokens', { type: 'array', of: 'string', value: ['<s>', 'a', 'bc'] }],
      ['scores', { type: 'array', of: 'f32', value: [0, -1, -2] }],
      ['flag', { type: 'bool', value: true }],
      ['count', { type: 'u64', value: 5n }],
    ]),
    [
      { name: 'a.weight', type: f32, shape: [2, 8] },
      { name: 'b.weight', type: q4, shape: [2, 32] },
    ],
  );
  const whole = new Uint8Array(plan.byteLength);
  whole.set(plan.header);
  return {
    name: 'gguf',
    async run(random) {
      const bytes = mutateBytes(whole, random);
      const source = fromBytes(bytes, 'x.gguf');
      const { tensors } = await readGgufHeader(source);
      for (const each of tensors.values()) if (each.type.format) await readGgufTensor(source, each);
      return { bytes: bytes.length };
    },
  };
}

/** The index of shards, beside two shards. */
export function indexParser(): FuzzedParser {
  const folder = mkdtempSync(join(tmpdir(), 'q-fuzz-index-'));
  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const index = { metadata: { total_size: 40 }, weight_map: { a: one, b: one, c: two } };
  const ready = Promise.all([
    writeFile(
      join(folder, one),
      safetensorsBytes(
        new Map([
          ['a', tensor('f32', [2])],
          ['b', tensor('f32', [3])],
        ] as const),
      ),
    ),
    writeFile(
      join(folder, two),
      safetensorsBytes(
        new Map([
          ['c', tensor('f32', [4])],
          ['b', tensor('f32', [3])],
        ] as const),
      ),
    ),
  ]);
  return {
    name: 'index',
    async run(random) {
      await ready;
      const text = mutateJsonText(index, random);
      await writeFile(join(folder, 'model.safetensors.index.json'), text);
      const shards = await openShards(folder);
      try {
        for (const name of shards.entries.keys()) await shards.read(name);
      } finally {
        await shards.close();
      }
      return { bytes: text.length };
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** An adapter of PEFT: its config, and its weights. */
export function adapterParser(): FuzzedParser {
  const folder = mkdtempSync(join(tmpdir(), 'q-fuzz-adapter-'));
  const config = {
    ...{ peft_type: 'LORA', r: 2, lora_alpha: 4, lora_dropout: 0.1, bias: 'none', target_modules: ['q_proj'] },
    ...{ init_lora_weights: true, rank_pattern: {}, alpha_pattern: {}, use_dora: false, modules_to_save: null },
  };
  const name = 'base_model.model.model.layers.0.self_attn.q_proj';
  const whole = safetensorsBytes(
    new Map<string, Tensor>([
      [`${name}.lora_A.weight`, tensor('f32', [2, 4], values(8))],
      [`${name}.lora_B.weight`, tensor('f32', [4, 2], values(8))],
    ]),
  );
  const [configPath, weightsPath] = ['adapter_config.json', 'adapter_model.safetensors'].map((file) =>
    join(folder, file),
  );
  return {
    name: 'adapter',
    async run(random) {
      const ofConfig = random.integer(2) === 0;
      const text = ofConfig ? mutateJsonText(config, random) : JSON.stringify(config);
      const weights = ofConfig ? whole : mutateBytes(whole, random);
      await Promise.all([writeFile(configPath, text), writeFile(weightsPath, weights)]);
      const { modules } = await readAdapter(folder);
      return {
        bytes: text.length + weights.length,
        finite: [...modules.values()].flatMap(({ a, b }) => [a.data, b.data]),
      };
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

import { readAdapter } from '@q/checkpoint';
import { type Tensor, tensor } from '@q/core';
import { ggufTensorTypeOf, planGgufFile, readGgufHeader, readGgufTensor } from '@q/gguf';
import { fileDtype, fromBytes, type ModelFolder, openShards, planShards, readHeader, readTensor } from '@q/safetensors';
import { mutateBytes, mutateJsonText } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));

/** A folder in memory. */
const folderOf = (files: ReadonlyMap<string, Uint8Array>): ModelFolder => {
  const bytes = (name: string) => {
    const found = files.get(name);
    if (!found) throw Object.assign(new Error(`no file ${name}`), { code: 'ENOENT' });
    return found;
  };
  return {
    path: 'folder',
    where: (name) => `folder/${name}`,
    names: async () => [...files.keys()],
    text: async (name) => new TextDecoder().decode(bytes(name)),
    open: async (name) => fromBytes(bytes(name), `folder/${name}`),
  };
};

function safetensorsBytes(tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  const plan = planShards([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype: fileDtype(dtype), shape })));
  const out = new Uint8Array(plan.byteLength);
  out.set(plan.files[0].header);
  for (const [name, { data }] of tensors)
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), plan.places.get(name)?.begin);
  return out;
}

/** Reads a safetensors file: its header, and every tensor that the header names. */
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

/** Reads a GGUF file: its header, and every tensor of a type that the toolkit reads. */
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

/** Reads the index of shards, with two shards. */
export function indexParser(): FuzzedParser {
  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const index = { metadata: { total_size: 40 }, weight_map: { a: one, b: one, c: two } };
  const f32 = (length: number) => tensor('f32', [length]);
  const shards = [
    [
      one,
      safetensorsBytes(
        new Map<string, Tensor>([
          ['a', f32(2)],
          ['b', f32(3)],
        ]),
      ),
    ],
    [
      two,
      safetensorsBytes(
        new Map<string, Tensor>([
          ['c', f32(4)],
          ['b', f32(3)],
        ]),
      ),
    ],
  ] as const;
  return {
    name: 'index',
    async run(random) {
      const text = new TextEncoder().encode(mutateJsonText(index, random));
      const reader = await openShards(folderOf(new Map([...shards, ['model.safetensors.index.json', text]])));
      for (const name of reader.entries.keys()) await reader.read(name);
      await reader.close();
      return { bytes: text.length };
    },
  };
}

/** Reads an adapter of PEFT: its config, and its weights. */
export function adapterParser(): FuzzedParser {
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
  return {
    name: 'adapter',
    async run(random) {
      const ofConfig = random.integer(2) === 0;
      const text = new TextEncoder().encode(ofConfig ? mutateJsonText(config, random) : JSON.stringify(config));
      const weights = ofConfig ? whole : mutateBytes(whole, random);
      const { modules } = await readAdapter(
        folderOf(
          new Map([
            ['adapter_config.json', text],
            ['adapter_model.safetensors', weights],
          ]),
        ),
      );
      return {
        bytes: text.length + weights.length,
        finite: [...modules.values()].flatMap(({ a, b }) => [a.data, b.data]),
      };
    },
  };
}

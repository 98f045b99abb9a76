/**
 * Writes a file with a tensor of every type that we encode and metadata of every type, and the values that we read from
 * it. Also writes a small Llama in f16 and our quantized files of it.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { conversionSource, openCheckpoint } from '@q/checkpoint';
import { createRandom } from '@q/core';
import { writeLlamaGguf } from '@q/figures/llama-gguf';
import {
  convertModel,
  createGgufWriter,
  type GgufValue,
  ggufTensorTypes,
  iq4_NL,
  iq4_XS,
  mxfp4,
  planGgufFile,
  planModel,
  planRequantize,
  q2_K,
  q3_K,
  q4_0,
  q4_K,
  q5_K,
  q6_K,
  q8_0,
  readGgufHeader,
  readGgufTensor,
  requantize,
  writeModel,
} from '@q/gguf';
import { createWasmKernels } from '@q/kernels-wasm';
import { openFile } from '@q/safetensors';

const out = process.argv[2];
const random = createRandom('gguf client');
const metadata = new Map<string, GgufValue>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ['general.alignment', { type: 'u32', value: 64 }],
  ['a.u8', { type: 'u8', value: 200 }],
  ['a.i8', { type: 'i8', value: -100 }],
  ['a.u16', { type: 'u16', value: 60000 }],
  ['a.i16', { type: 'i16', value: -30000 }],
  ['a.i32', { type: 'i32', value: -(2 ** 31) }],
  ['a.f32', { type: 'f32', value: 0.5 }],
  ['a.f64', { type: 'f64', value: 0.1 }],
  ['a.u64', { type: 'u64', value: 2n ** 64n - 1n }],
  ['a.i64', { type: 'i64', value: -(2n ** 63n) }],
  ['a.bool', { type: 'bool', value: true }],
  ['a.text', { type: 'string', value: 'ünï "quoted"\n' }],
  ['a.texts', { type: 'array', of: 'string', value: ['', 'ä', 'b c'] }],
  ['a.floats', { type: 'array', of: 'f32', value: [1, -2.5] }],
  ['a.integers', { type: 'array', of: 'i64', value: [1n, -(2n ** 40n)] }],
  ['a.bools', { type: 'array', of: 'bool', value: [true, false] }],
]);

// Usual weights, weights of one sign, sparse weights, weights on a grid with ties, and zeros.
const rows = 40;
const values = Float32Array.from({ length: rows * 512 }, (_, i) => {
  const x = random.normal() * 0.02;
  const kinds = [x, Math.abs(x), random.uniform() < 0.9 ? 0 : x, Math.round(x * 100) / 128, 0];
  return kinds[Math.floor(i / 512) % kinds.length];
});
const types = ggufTensorTypes.filter(({ format }) => format);
const tensors = types.map((type) => ({ name: `${type.name}.weight`, type, shape: [rows, 2, 256] }));
const writer = await createGgufWriter(join(out, 'ours.gguf'), planGgufFile(metadata, tensors));
await writeFile(join(out, 'values.f32'), values);
for (const { name, type } of tensors) {
  const bytes = new Uint8Array((values.length / type.values) * type.bytes);
  if (!type.format?.encode(values, bytes)) throw new Error(`${name} is refused`);
  await writer.write(name, bytes);
}
await writer.finish();
const ours = await openFile(join(out, 'ours.gguf'));
for (const tensor of (await readGgufHeader(ours)).tensors.values())
  await writeFile(join(out, `${tensor.type.name}.f32`), await readGgufTensor(ours, tensor));
await ours.close();
const plain = (value: GgufValue['value']): unknown =>
  Array.isArray(value) ? value.map(plain) : typeof value === 'bigint' ? `${value}` : value;
await writeFile(
  join(out, 'metadata.json'),
  JSON.stringify(Object.fromEntries([...metadata].map(([key, { value }]) => [key, plain(value)]))),
);
await writeFile(
  join(out, 'types.json'),
  JSON.stringify(ggufTensorTypes.map(({ name, id, values, bytes }) => ({ name, id, values, bytes }))),
);

// Rows of the shared model are whole blocks of 256, except in one linear. Rows of the demo model are only whole blocks
// of 32.
const shared = process.env.QUANT_SHARED && join(process.env.QUANT_SHARED, 'models', 'llama-5m');
if (!shared)
  console.log('the shared model is left out: QUANT_SHARED does not name its folder; the demo model is run instead');
const model = shared || fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url));
await writeLlamaGguf(join(out, 'llama-F16.gguf'), model);
await writeFile(join(out, 'model.json'), JSON.stringify({ model, shared: Boolean(shared) }));
const kernels = await createWasmKernels();
const source = await openFile(join(out, 'llama-F16.gguf'));
for (const type of shared
  ? [q8_0, q6_K, q5_K, q4_K, q4_0, q3_K, q2_K, iq4_NL, iq4_XS, mxfp4]
  : [q8_0, q4_0, iq4_NL, mxfp4]) {
  const plan = planRequantize(await readGgufHeader(source), { type }, source.name);
  await requantize(source, plan, join(out, `llama-${type.name}.gguf`), { kernels });
}
await source.close();
// The same model, converted from its folder: another file for the same client.
const checkpoint = await openCheckpoint(model, []);
const folder = await conversionSource(checkpoint);
const converted = convertModel(folder);
await writeModel(
  folder,
  converted,
  planModel(converted, { type: q8_0 }, model),
  join(out, 'llama-converted-Q8_0.gguf'),
  {
    kernels,
  },
);
await checkpoint.close();
await kernels.dispose();

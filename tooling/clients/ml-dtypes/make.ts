/**
 * Writes f32 values and, for each format, the results of our encoders: `values.f32`; `NAME.quantize` (saturating, with
 * the loop that quantizing uses; values without NaN and infinities), `NAME.convert` (plain conversion) and
 * `NAME.decode` (the value of every code); `formats.json` names them. Ten million values in all, in equal parts for the
 * formats.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, e2m1, e2m3, e3m2, e4m3, e5m2, perTensor, quantize, scheme, tensor, unitScale } from '@q/core';

const out = process.argv[2];
/** Names of the types in ml_dtypes. */
const formats = [
  { format: e4m3, theirs: 'float8_e4m3fn' },
  { format: e5m2, theirs: 'float8_e5m2' },
  { format: e2m3, theirs: 'float6_e2m3fn' },
  { format: e3m2, theirs: 'float6_e3m2fn' },
  { format: e2m1, theirs: 'float4_e2m1fn' },
];
const count = 2_000_000;
const described: { name: string; theirs: string; max: number }[] = [];
for (const { format, theirs } of formats) {
  const random = createRandom(`ml-dtypes/${format.name}`);
  const values = new Float32Array(count);
  const words = new Uint32Array(values.buffer);
  const levels = Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code))
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  for (let i = 0; i < count; i++) {
    // A third each: any bit pattern; values near the format's range on a logarithmic scale; values at and next to the
    // middles of levels.
    if (i % 3 === 0) words[i] = random.integer(2 ** 32);
    else if (i % 3 === 1) values[i] = (random.uniform() * 2 - 1) * format.max * 2 ** (1 - random.integer(20));
    else {
      const k = random.integer(levels.length - 1);
      values[i] = (levels[k] + levels[k + 1]) / 2;
      if (values[i] !== 0) words[i] += random.integer(3) - 1;
    }
  }
  const finite = values.map((x) => (Number.isFinite(x) ? x : 0));
  const of = scheme({ format, granularity: perTensor, scaleStorage: unitScale });
  const { codes } = quantize(tensor('f32', [count], finite), of);
  await writeFile(join(out, `${format.name}.f32`), values);
  await writeFile(join(out, `${format.name}.quantize`), codes as Uint8Array);
  // Formats of finite values have no code for NaN, so ml_dtypes' own choice is not compared.
  const hasNaN = Number.isNaN(format.decode(2 ** (format.bits - 1) - 1));
  const convert = Uint8Array.from(values, (x) => (Number.isNaN(x) && !hasNaN ? 0 : format.convert(x)));
  await writeFile(join(out, `${format.name}.convert`), convert);
  const decoded = Float32Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code));
  await writeFile(join(out, `${format.name}.decode`), decoded);
  described.push({ name: format.name, theirs, max: format.max });
}
await writeFile(join(out, 'formats.json'), JSON.stringify(described));

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Tensor, tensor } from '@q/core';
import { writeSafetensorsFile } from '@q/safetensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../checkpoint.js';
import { auditCast, planCast, writeCast } from './cast-checkpoint.js';
import { castConfigText } from './cast-config.js';
import { castBytes, checkCast, isZeroingHarmful } from './cast-values.js';

/** Bit patterns by PyTorch 2: `torch.tensor([...]).to(torch.float16).view(torch.uint16)`, and of `torch.bfloat16`. */
const golden = {
  values: [0, -0, 1, -2.5, 0.1, 65504, 65519.99, 65520, -1e30, 6.1e-5, 5.97e-8, 2.9802322387695312e-8, 3e-8, 1e-40],
  f16: [0, 32768, 15360, 49408, 11878, 31743, 31743, 31744, 64512, 1023, 1, 0, 1, 0],
  bf16: [0, 32768, 16256, 49184, 15821, 18304, 18304, 18304, 61770, 14464, 13184, 13056, 13057, 1],
};
const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Float64Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);
const words = (bytes: Uint8Array) => [...new Uint16Array(bytes.slice().buffer)];

describe('castBytes', () => {
  it.each(['f16', 'bf16'] as const)('gives the bit patterns of PyTorch in %s', (to) => {
    expect(words(castBytes('F32', to, bytesOf(Float32Array.from(golden.values))))).toEqual(golden[to]);
    expect(words(castBytes('F64', to, bytesOf(Float64Array.from(golden.values))))).toEqual(golden[to]);
  });

  it('widens without a change', () => {
    const wide = (from: 'F16' | 'BF16', pattern: number) =>
      new Float32Array(castBytes(from, 'f32', bytesOf(Uint16Array.of(pattern))).slice().buffer)[0];
    expect([wide('F16', 0x3555), wide('F16', 0x0001), wide('BF16', 0x3eab)]).toEqual([
      0.333251953125,
      2 ** -24,
      0.333984375,
    ]);
  });
});

describe('checkCast', () => {
  it('counts what becomes infinite or zero', () => {
    const found = checkCast('F32', 'f16', bytesOf(Float32Array.from(golden.values)));
    expect(found.over).toEqual({ count: 2, largest: Math.fround(1e30) });
    expect(found.under).toEqual({ count: 2, largest: 2 ** -25 });
    expect(found.largest).toBe(Math.fround(1e30));
    expect(found.notFinite).toBe(-1);
  });

  it('knows what f32 holds of f64', () => {
    const found = checkCast('F64', 'f32', bytesOf(Float64Array.of(1e39, -1e300, 1e-50, 0, Number.NaN)));
    expect(found).toEqual({
      over: { count: 2, largest: 1e300 },
      under: { count: 1, largest: 1e-50 },
      largest: 1e300,
      notFinite: 4,
    });
  });
});

describe('isZeroingHarmful', () => {
  it('compares with the error of rounding the largest value', () => {
    // f16 rounds 1 + 2^-11 to 1.
    expect(words(castBytes('F32', 'f16', bytesOf(Float32Array.of(1 + 2 ** -11))))).toEqual([0x3c00]);
    expect(isZeroingHarmful({ count: 1, largest: 2 ** -26 }, 1, 'f16')).toBe(false);
    expect(isZeroingHarmful({ count: 1, largest: 2 ** -26 }, 2 ** -16, 'f16')).toBe(true);
    expect(isZeroingHarmful({ count: 0, largest: 0 }, 0, 'f16')).toBe(false);
  });
});

describe('castConfigText', () => {
  it('changes the dtype at every depth and nothing else', () => {
    const text =
      '{"a": 1.0, "torch_dtype": "bfloat16", "text_config": {"eps": 1e-05, "dtype": "bfloat16"}, "b": {"c": 1}}';
    expect(castConfigText(text, 'f16')).toBe(
      '{\n  "a": 1.0,\n  "torch_dtype": "float16",\n  "text_config": {\n    "eps": 1e-05,\n    "dtype": "float16"\n  },\n  "b": {"c": 1}\n}\n',
    );
  });

  it('adds one where there is none', () => {
    expect(JSON.parse(castConfigText('{"a": 1}', 'f32', { b: 2 }))).toEqual({ a: 1, b: 2, torch_dtype: 'float32' });
  });
});

describe('a folder', () => {
  let folder: string;
  let source: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'q-cast-'));
    source = join(folder, 'source');
    await mkdir(source);
    await writeFile(join(source, 'config.json'), '{"model_type": "unheard-of", "dtype": "float32", "x": 1.0}');
    await writeFile(join(source, 'notes.txt'), 'kept');
    await writeSafetensorsFile(
      join(source, 'model.safetensors'),
      new Map<string, Tensor>([
        ['small', tensor('f32', [2, 2], Float32Array.of(1, 2, 3, 0.1))],
        ['large', tensor('f32', [3], Float32Array.of(1e5, -7e4, 1e-9))],
        ['positions', tensor('i64', [2], BigInt64Array.of(0n, 1n))],
      ]),
    );
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('is cast but for the tensors that are kept, and other files come along', async () => {
    const checkpoint = await openCheckpoint(source, []);
    const lossy = await auditCast(checkpoint, planCast(checkpoint, 'f16'));
    expect(lossy).toEqual([
      {
        ...{ name: 'large', dtype: 'F32' },
        ...{ over: { count: 2, largest: 1e5 }, under: { count: 1, largest: Math.fround(1e-9) }, harmful: true },
      },
    ]);
    const out = join(folder, 'out');
    await mkdir(out);
    await writeCast(checkpoint, planCast(checkpoint, 'f16', new Set(['large'])), out);
    await checkpoint.close();
    expect((await readdir(out)).sort()).toEqual(['config.json', 'model.safetensors', 'notes.txt']);
    const written = await openCheckpoint(out, []);
    const dtypes = Object.fromEntries([...written.tensors].map(([name, { dtype }]) => [name, dtype]));
    expect(dtypes).toEqual({ small: 'F16', large: 'F32', positions: 'I64' });
    expect(words(await written.readBytes('small'))).toEqual([0x3c00, 0x4000, 0x4200, 0x2e66]);
    expect(written.config).toEqual({ model_type: 'unheard-of', dtype: 'float16', x: 1 });
    expect(await readFile(join(out, 'config.json'), 'utf8')).toContain('"x": 1.0');
    await written.close();
  });
});

import { e2m1, e4m3, e5m2, encodeF16, nf4 } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { type Gpu, openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { bitStream, integers, normals, product, relativeError } from '../testing/reference.js';
import { affineWeight } from './affine-weight.js';
import { awqWeight } from './awq-weight.js';
import { float8Weight } from './float8-weight.js';
import { ggufWeight } from './gguf-weight.js';
import { createGpuLinear } from './gpu-linear.js';
import type { GpuWeight } from './gpu-weight.js';
import { bitsandbytesWeight, mxfp4Weight, nvfp4Weight } from './table-weight.js';

const found = await openDawn();
afterAll(() => found?.close());

interface Case {
  readonly weights: ArrayLike<number>;
  upload(gpu: Gpu): Promise<GpuWeight>;
}

const [out, width] = [40, 256];
const shape = { outFeatures: out, inFeatures: width };
const each = (make: (o: number, i: number) => number) =>
  Float64Array.from({ length: out * width }, (_, at) => make(Math.floor(at / width), at % width));
/** An f16 that is exact in a few bits, as pattern and as value. */
const halves = (count: number) => {
  const values = normals(count).map((x) => Math.round(16 + 8 * Math.abs(x)) / 512);
  return { values, patterns: encodeF16(values) };
};
/** E4M3 from its definition in docs/reference/file-formats.md#small-floats. */
const fp8 = (byte: number) => {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : 2 ** (exponent - 7) * (1 + mantissa / 8);
  return byte & 128 ? -magnitude : magnitude;
};
const finiteFp8 = (count: number) => integers(count, 256).map((byte) => ((byte & 127) === 127 ? 0x7e : byte));

function awq(): Case {
  const groups = width / 64;
  const codes = integers(out * width, 16);
  const zeros = integers(out * groups, 16);
  const { values, patterns } = halves(groups * out);
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  const word = (codeOf: (column: number) => number) =>
    order.reduce((sum, column, nibble) => (sum | (codeOf(column) << (4 * nibble))) >>> 0, 0);
  const qweight = Uint32Array.from({ length: (width * out) / 8 }, (_, at) => {
    const [i, c] = [Math.floor(at / (out / 8)), at % (out / 8)];
    return word((column) => codes[(8 * c + column) * width + i]);
  });
  const qzeros = Uint32Array.from({ length: (groups * out) / 8 }, (_, at) => {
    const [g, c] = [Math.floor(at / (out / 8)), at % (out / 8)];
    return word((column) => zeros[(8 * c + column) * groups + g]);
  });
  return {
    weights: each((o, i) => {
      const g = Math.floor(i / 64);
      return (codes[o * width + i] - zeros[o * groups + g]) * values[g * out + o];
    }),
    upload: (gpu) => awqWeight(gpu, { ...shape, groupSize: 64, qweight, qzeros, scales: patterns }),
  };
}

function affine(bits: 2 | 4 | 8, groupSize: number, exact: boolean): Case {
  const groups = Math.ceil(width / groupSize);
  const codes = integers(out * width, 2 ** bits);
  const zeros = Float32Array.from(integers(out * groups, 2 ** bits));
  const scales = exact ? halves(out * groups).values : normals(out * groups);
  return {
    weights: each((o, i) => {
      const g = o * groups + Math.floor(i / groupSize);
      return (codes[o * width + i] - zeros[g]) * scales[g];
    }),
    upload: (gpu) => affineWeight(gpu, { ...shape, bits, groupSize, codes: bitStream(codes, bits), scales, zeros }),
  };
}

function bitsandbytes(blockSize: number): Case {
  const codes = integers(out * width, 16);
  const absmax = normals((out * width) / blockSize).map(Math.abs);
  const table = Float32Array.from({ length: 16 }, (_, code) => nf4.decode(code));
  const bytes = Uint8Array.from({ length: (out * width) / 2 }, (_, i) => (codes[2 * i] << 4) | codes[2 * i + 1]);
  return {
    weights: each((o, i) => table[codes[o * width + i]] * absmax[Math.floor((o * width + i) / blockSize)]),
    upload: (gpu) => bitsandbytesWeight(gpu, { ...shape, blockSize, codes: bytes, absmax, table }),
  };
}

function float4(kind: 'mxfp4' | 'nvfp4'): Case {
  const levels = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const size = kind === 'mxfp4' ? 32 : 16;
  const groups = width / size;
  const codes = integers(out * width, 16);
  const scales = kind === 'mxfp4' ? integers(out * groups, 9).map((x) => 123 + x) : integers(out * groups, 0x7f);
  const global = 0.0123;
  const scale = (byte: number) => (kind === 'mxfp4' ? 2 ** (byte - 127) : fp8(byte) * Math.fround(global));
  const weight = { ...shape, codes: bitStream(codes, 4), scales };
  return {
    weights: each((o, i) => {
      const code = codes[o * width + i];
      return (code & 8 ? -1 : 1) * levels[code & 7] * scale(scales[o * groups + Math.floor(i / size)]);
    }),
    upload: (gpu) => (kind === 'mxfp4' ? mxfp4Weight(gpu, weight) : nvfp4Weight(gpu, { ...weight, global })),
  };
}

function float8(kind: 'tensor' | 'channel' | 'block' | 'mx'): Case {
  const codes = finiteFp8(out * width);
  const blocks = { rows: 16, columns: 128 };
  const counts = { tensor: 1, channel: out, block: Math.ceil(out / 16) * 2, mx: 0 };
  const values = normals(counts[kind]).map(Math.abs);
  const bytes = integers((out * width) / 32, 9).map((x) => 120 + x);
  const scale = (o: number, i: number) => {
    if (kind === 'mx') return 2 ** (bytes[o * (width / 32) + Math.floor(i / 32)] - 127);
    return values[{ tensor: 0, channel: o, block: Math.floor(o / 16) * 2 + Math.floor(i / 128) }[kind]];
  };
  const scales = kind === 'mx' ? { kind, bytes } : kind === 'block' ? { kind, ...blocks, values } : { kind, values };
  return {
    weights: each((o, i) => fp8(codes[o * width + i]) * scale(o, i)),
    upload: (gpu) => float8Weight(gpu, { ...shape, format: 'e4m3', codes, scales }),
  };
}

/** Blocks by docs/reference/file-formats.md#block-layouts-of-gguf. */
function gguf(type: 'Q4_0' | 'Q8_0' | 'Q4_K'): Case {
  const per = type === 'Q4_K' ? 256 : 32;
  const count = (out * width) / per;
  const codes = integers(out * width, type === 'Q8_0' ? 256 : 16);
  const d = halves(count);
  const m = halves(count);
  const [sc, mn] = [integers(8 * count, 64), integers(8 * count, 64)];
  const data: number[] = [];
  for (let b = 0; b < count; b++) {
    const q = codes.subarray(b * per, (b + 1) * per);
    data.push(d.patterns[b] & 255, d.patterns[b] >> 8);
    if (type === 'Q4_0') for (let j = 0; j < 16; j++) data.push(q[j] | (q[j + 16] << 4));
    if (type === 'Q8_0') data.push(...q);
    if (type !== 'Q4_K') continue;
    data.push(m.patterns[b] & 255, m.patterns[b] >> 8);
    const scales = new Uint8Array(12);
    for (let j = 0; j < 8; j++) {
      const [s, n] = [sc[8 * b + j], mn[8 * b + j]];
      if (j < 4) {
        scales[j] |= s;
        scales[j + 4] |= n;
      } else {
        scales[j + 4] |= (s & 15) | ((n & 15) << 4);
        scales[j - 4] |= (s >> 4) << 6;
        scales[j] |= (n >> 4) << 6;
      }
    }
    data.push(...scales);
    for (let c = 0; c < 4; c++) for (let l = 0; l < 32; l++) data.push(q[64 * c + l] | (q[64 * c + 32 + l] << 4));
  }
  return {
    weights: each((o, i) => {
      const at = o * width + i;
      const b = Math.floor(at / per);
      if (type === 'Q4_0') return (codes[at] - 8) * d.values[b];
      if (type === 'Q8_0') return ((codes[at] << 24) >> 24) * d.values[b];
      const sub = 8 * b + Math.floor((at % 256) / 32);
      return d.values[b] * sc[sub] * codes[at] - m.values[b] * mn[sub];
    }),
    upload: (gpu) => ggufWeight(gpu, { ...shape, type, data: Uint8Array.from(data) }),
  };
}

const cases: Record<string, Case> = {
  'AWQ gemm': awq(),
  'integers of 2 bits, f32 scales': affine(2, 64, false),
  'integers of 4 bits, a short last group': affine(4, 96, true),
  'integers of 8 bits': affine(8, 32, true),
  'NF4 in blocks of 64': bitsandbytes(64),
  'NF4 in blocks across rows': bitsandbytes(512),
  MXFP4: float4('mxfp4'),
  NVFP4: float4('nvfp4'),
  'FP8, one scale': float8('tensor'),
  'FP8 per channel': float8('channel'),
  'FP8 in blocks': float8('block'),
  MXFP8: float8('mx'),
  'GGUF Q4_0': gguf('Q4_0'),
  'GGUF Q8_0': gguf('Q8_0'),
  'GGUF Q4_K': gguf('Q4_K'),
};

describe.runIf(found)('weights on the device', () => {
  if (!found) return;
  const gpu = openGpu(found);

  it.each(Object.entries(cases))('%s: dequantized, one token, a prompt', async (_, { weights, upload }) => {
    const weight = await upload(gpu);
    const linear = createGpuLinear(gpu, weight);
    // Two roundings to f32 at most: of the value, and of its product with the scale.
    expect(relativeError(await linear.dequantize(), weights)).toBeLessThan(1.3e-7);
    for (const tokens of [1, 13]) {
      const x = normals(tokens * width);
      const expected = product(x, weights, tokens, out, width);
      expect(relativeError(await linear.multiply(x, tokens), expected), `${tokens} tokens`).toBeLessThan(2e-6);
    }
    linear.dispose();
    expect(gpu.buffers.bytes).toBe(0);
  });

  it('GGUF Q4_0 and Q8_0 read golden blocks (docs/reference/file-formats.md#golden-words)', async () => {
    const golden = {
      Q4_0: '0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8',
      Q8_0: '083081899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77',
    };
    for (const [type, hex] of Object.entries(golden)) {
      const data = Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16));
      const weight = await ggufWeight(gpu, { outFeatures: 1, inFeatures: 32, type: type as 'Q4_0', data });
      const values = await createGpuLinear(gpu, weight).dequantize();
      // The block was made from i - 16; a step of Q4_0 is 2.
      for (const [i, value] of values.entries())
        expect(Math.abs(value - (i - 16))).toBeLessThanOrEqual(type === 'Q4_0' ? 2 : 0.07);
      weight.dispose();
    }
  });

  it('FP8: every code is the number that the format says', async () => {
    for (const format of [e4m3, e5m2]) {
      const name = format.name as 'e4m3' | 'e5m2';
      const codes = Uint8Array.from({ length: 256 }, (_, i) => (Number.isFinite(format.decode(i)) ? i : 0));
      const scales = { kind: 'tensor' as const, values: Float32Array.of(1) };
      const weight = await float8Weight(gpu, { outFeatures: 1, inFeatures: 256, format: name, codes, scales });
      const values = await createGpuLinear(gpu, weight).dequantize();
      expect([...values].map((x) => x + 0)).toEqual([...codes].map((code) => format.decode(code) + 0));
      weight.dispose();
    }
  });

  it('refuse what is no number and what does not fit', async () => {
    const nan = new Uint8Array(8 * 8).fill(0x7f);
    const scales = { kind: 'tensor' as const, values: Float32Array.of(1) };
    const weight = { outFeatures: 8, inFeatures: 8, format: 'e4m3' as const, codes: nan, scales };
    await expect(float8Weight(gpu, weight)).rejects.toThrow('code 0x7f at 0');
    const odd = { ...weight, inFeatures: 12, codes: new Uint8Array(96) };
    await expect(float8Weight(gpu, odd)).rejects.toThrow('multiple of 8');
    expect(e2m1.decode(7)).toBe(6);
  });
});

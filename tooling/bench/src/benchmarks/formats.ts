import {
  awqOrder,
  bitPlanes,
  createRandom,
  dequantize,
  fitScales,
  halfQuadratic,
  highNibbleFirst,
  lsbFirst,
  minMax,
  mseSearch,
  type Packing,
  quantize,
  type ScaleFit,
  type Scheme,
  schemes,
  tensor,
  weightedSearch,
} from '@q/core';
import type { Benchmark } from '../benchmark.js';

const rows = 1024;
const columns = 4096;
const elements = rows * columns;

const targets: Readonly<Record<string, Scheme>> = {
  'int4 g128': schemes.int4,
  'uint4 g128, zero point': schemes.integer(4, { groupSize: 128, zeroPoint: 'integer' }),
  'int8 per channel': schemes.int8,
  'fp8 row-wise': schemes.fp8RowWise,
  nvfp4: schemes.nvfp4,
  mxfp4: schemes.mxfp4,
  nf4: schemes.nf4,
};

const fits: readonly (readonly [string, ScaleFit, Scheme])[] = [
  ['int4 g128, weightedSearch', weightedSearch(), schemes.int4],
  ['int2 g64, weightedSearch', weightedSearch(), schemes.integer(2, { groupSize: 64 })],
  ['int8, weightedSearch', weightedSearch(), schemes.int8],
  ['uint4 g128, weightedSearch', weightedSearch(), targets['uint4 g128, zero point']],
  ['nf4, weightedSearch', weightedSearch(), schemes.nf4],
  ['int4 g128, mseSearch', mseSearch(), schemes.int4],
  ['uint4 g64, halfQuadratic', halfQuadratic(), schemes.integer(4, { groupSize: 64, zeroPoint: 'float' })],
];

/** The goal for packers of 4 and 8 bits, as a share of the speed of a copy of the codes. */
const goal = 0.2;

export const benchmark: Benchmark = {
  description: 'quantize, dequantize, fit and pack compared with a plain copy of what is read or written',
  *comparisons() {
    const random = createRandom(1);
    const values = Float32Array.from({ length: elements }, () => random.normal());
    const floats = new Float32Array(elements);
    const weight = tensor('f32', [rows, columns], values);
    yield {
      title: `quantize f32 [${rows}, ${columns}], scales from the range`,
      work: elements,
      unit: 'elements',
      contenders: [
        { name: 'copy of the f32', run: () => floats.set(values) },
        ...Object.entries(targets).map(([name, of]) => ({ name, run: () => quantize(weight, of) })),
      ],
    };
    yield {
      title: 'dequantize',
      work: elements,
      unit: 'elements',
      contenders: [
        { name: 'copy of the f32', run: () => floats.set(values) },
        ...Object.entries(targets).map(([name, of]) => {
          const quantized = quantize(weight, of);
          return { name, run: () => dequantize(quantized) };
        }),
      ],
    };
    // Values have the size of weights: HQQ leaves errors of up to 0.17 unchanged, which is faster.
    const part = tensor(
      'f32',
      [32, columns],
      values.subarray(0, 32 * columns).map((x) => 0.02 * x),
    );
    yield {
      title: `fit scales of f32 [32, ${columns}]`,
      work: 32 * columns,
      unit: 'elements',
      contenders: [
        { name: 'int4 g128, minMax', run: () => fitScales(part, schemes.int4, minMax()) },
        ...fits.map(([name, fit, of]) => ({ name, run: () => fitScales(part, of, fit) })),
      ],
    };
    const codes = Uint8Array.from({ length: elements }, () => random.integer(256));
    const plain = new Uint8Array(elements);
    const packings: readonly (readonly [string, Packing])[] = [
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((bits) => [`${bits} bits`, lsbFirst(bits)] as const),
      ['4 bits, high nibble first', highNibbleFirst],
      ['4 bits, AWQ', awqOrder],
      ['4 bits, Q4_0', bitPlanes(4, 32)],
      ['2 bits, TQ2_0', bitPlanes(2, 128)],
    ];
    const atLeast = Object.fromEntries(
      packings.flatMap(([name, { bits }]) => (bits === 4 || bits === 8 ? [[name, goal]] : [])),
    );
    const copy = { name: 'copy of the codes', run: () => plain.set(codes) };
    const prepared = packings.map(([name, packing]) => {
      const own = codes.map((code) => code & (2 ** packing.bits - 1));
      return { name, packing, own, packed: packing.pack(own) };
    });
    yield {
      title: `pack ${elements} codes`,
      work: elements,
      unit: 'elements',
      contenders: [
        copy,
        ...prepared.map(({ name, packing, own, packed }) => ({ name, run: () => packing.pack(own, packed) })),
      ],
      atLeast,
    };
    yield {
      title: `unpack ${elements} codes`,
      work: elements,
      unit: 'elements',
      contenders: [
        copy,
        ...prepared.map(({ name, packing, packed }) => ({ name, run: () => packing.unpack(packed, elements, plain) })),
      ],
      atLeast,
    };
  },
};

import {
  bitsPerWeight,
  createRandom,
  dequantize,
  fitCodebook,
  leastSquaresSupport,
  minMax,
  perTensor,
  type QuantizeOptions,
  quantize,
  type Scheme,
  scheme,
  schemes,
  signedIntegers,
  type Tensor,
  tensor,
  ternaryThreshold,
  unitScale,
  weightedSearch,
} from '@q/core';

/** One line of the table: a way to quantize a weight. */
export interface FormatRow {
  readonly name: string;
  /** The same scheme for every weight, or a function that fits one to a weight (codebooks). */
  readonly scheme: Scheme | ((weight: Tensor<'f32'>) => Scheme);
  readonly options?: QuantizeOptions;
}

const range = { fit: minMax() };
const search = { fit: weightedSearch() };
const int = (bits: number, groupSize?: number, zeroPoint?: 'integer' | 'float') =>
  schemes.integer(bits, { groupSize, zeroPoint });

/** Every format, with the granularities that are used with it. */
export const formatRows: readonly FormatRow[] = [
  { name: 'FP16', scheme: schemes.fp16 },
  { name: 'BF16', scheme: schemes.bf16 },
  { name: 'INT8 tensor', scheme: schemes.int8TensorWise, options: range },
  { name: 'INT8 channel', scheme: schemes.int8, options: range },
  { name: 'FP8 E4M3 tensor', scheme: schemes.fp8TensorWise },
  { name: 'FP8 E4M3 channel', scheme: schemes.fp8RowWise },
  { name: 'FP8 E4M3 block 128x128', scheme: schemes.fp8BlockWise },
  { name: 'FP8 E5M2 tensor', scheme: schemes.fp8E5m2 },
  { name: 'MXINT8', scheme: schemes.mxint8 },
  { name: 'MXFP8 E4M3', scheme: schemes.mxfp8 },
  { name: 'MXFP8 E5M2', scheme: schemes.mxfp8E5m2 },
  { name: 'MXFP6 E2M3', scheme: schemes.mxfp6 },
  { name: 'MXFP6 E3M2', scheme: schemes.mxfp6E3m2 },
  ...[7, 6, 5].map((bits) => ({ name: `INT${bits} g128`, scheme: int(bits, 128), options: range })),
  { name: 'INT4 tensor', scheme: scheme({ format: signedIntegers[2], granularity: perTensor }), options: range },
  { name: 'INT4 channel', scheme: int(4), options: range },
  { name: 'INT4 g128', scheme: int(4, 128), options: range },
  { name: 'INT4 g128, search', scheme: int(4, 128), options: search },
  { name: 'INT4 g128 zero point', scheme: int(4, 128, 'integer'), options: range },
  { name: 'INT4 g128 zero point, search', scheme: int(4, 128, 'integer'), options: search },
  { name: 'INT4 g64', scheme: int(4, 64), options: range },
  { name: 'INT4 g64, search', scheme: int(4, 64), options: search },
  { name: 'NF4', scheme: schemes.nf4 },
  { name: 'NF4, search', scheme: schemes.nf4, options: search },
  { name: 'NF4 double-quantized', scheme: schemes.nf4DoubleQuantized },
  { name: 'bitsandbytes FP4', scheme: schemes.bnbFp4 },
  { name: 'NVFP4', scheme: schemes.nvfp4 },
  { name: 'NVFP4, search', scheme: schemes.nvfp4, options: search },
  { name: 'MXFP4', scheme: schemes.mxfp4 },
  { name: 'MXFP4, search', scheme: schemes.mxfp4, options: search },
  { name: 'power of two, 4 bits, channel', scheme: schemes.powerOfTwo(4) },
  {
    name: 'k-means, 4 bits, tensor',
    scheme: ({ data }) => scheme({ format: fitCodebook(data, 4), granularity: perTensor, scaleStorage: unitScale }),
  },
  { name: 'INT3 g64', scheme: int(3, 64), options: range },
  { name: 'INT3 g64, search', scheme: int(3, 64), options: search },
  { name: 'INT3 g64 zero point, search', scheme: int(3, 64, 'integer'), options: search },
  { name: 'INT2 g64', scheme: int(2, 64), options: range },
  { name: 'INT2 g64, search', scheme: int(2, 64), options: search },
  { name: 'INT2 g64 zero point', scheme: int(2, 64, 'integer'), options: range },
  { name: 'INT2 g64 zero point, search', scheme: int(2, 64, 'integer'), options: search },
  { name: 'INT2 g64 real zero point, search', scheme: int(2, 64, 'float'), options: search },
  { name: 'ternary, BitNet b1.58', scheme: schemes.bitnet158 },
  { name: 'ternary channel, TWN', scheme: schemes.ternary, options: { fit: ternaryThreshold() } },
  { name: 'ternary channel, least squares', scheme: schemes.ternary, options: { fit: leastSquaresSupport() } },
  { name: 'binary channel, XNOR-Net', scheme: schemes.xnor },
  { name: 'binary {0,1} channel', scheme: schemes.binary01 },
];

export interface FormatFigure {
  readonly bits: number;
  /** Signal to quantization noise, `10 log10(sum x^2 / sum (x - xq)^2)`, dB. */
  readonly decibels: number;
}

export function measureFormat(row: FormatRow, weight: Tensor<'f32'>): FormatFigure {
  const of = typeof row.scheme === 'function' ? row.scheme(weight) : row.scheme;
  const back = dequantize(quantize(weight, of, row.options)).data;
  let [signal, noise] = [0, 0];
  for (let i = 0; i < back.length; i++) {
    signal += weight.data[i] ** 2;
    noise += (weight.data[i] - back[i]) ** 2;
  }
  return { bits: bitsPerWeight(of, weight.shape), decibels: 10 * Math.log10(signal / noise) };
}

/** The row of that name. */
export function formatRow(name: string): FormatRow {
  const found = formatRows.find((row) => row.name === name);
  if (!found) throw new Error(`no format row ${name}`);
  return found;
}

/** Independent values of variance 1. */
export function randomWeight(kind: 'gaussian' | 'laplace', rows: number, columns: number): Tensor<'f32'> {
  const random = createRandom(`formats/${kind}`);
  const draw = {
    gaussian: () => random.normal(),
    // The difference of two exponential values.
    laplace: () => (Math.log(1 - random.uniform()) - Math.log(1 - random.uniform())) / Math.SQRT2,
  }[kind];
  return tensor('f32', [rows, columns], Float32Array.from({ length: rows * columns }, draw));
}

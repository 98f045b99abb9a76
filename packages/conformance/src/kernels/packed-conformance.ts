/**
 * Checks of products with packed weights and of attention over packed caches, as cases that throw. Codes are packed and
 * products are computed here, in f64 and from the definitions. No code of the references is used, and the same cases
 * check the references.
 */
import {
  createRandom,
  type KvAttention,
  type KvLayout,
  type PackedKv,
  type PackedLinear,
  type PackedProducts,
  type PackedWeight,
} from '@q/core';

/** Largest error as a share of the largest expected magnitude. docs/speed.md states the measured errors. */
export const packedErrorBounds = {
  /** For at most 4,096 inputs. */
  float: 2e-6,
  int8: 5e-7,
  attention: 5e-6,
} as const;

/** The kernels' function that loads a weight. */
export type LoadPacked<L> = (weight: PackedWeight) => Promise<L>;
type FloatLinear = Pick<PackedLinear, 'multiply' | 'dispose'>;

export interface PackedConformanceCase<T> {
  readonly name: string;
  run(subject: T): Promise<void>;
}

const random = createRandom('packed conformance');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const integers = (count: number, below: number) => Uint8Array.from({ length: count }, () => random.integer(below));

function check(what: string, found: ArrayLike<number>, expected: ArrayLike<number>, bound: number): void {
  if (found.length !== expected.length)
    throw new Error(`${what}: ${found.length} values, ${expected.length} were expected`);
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= bound * largest))
      throw new Error(
        `${what}: value ${i} is ${found[i]}, ${expected[i]} was expected, ${(Math.abs(found[i] - expected[i]) / largest).toExponential(1)} of the largest apart`,
      );
  }
}

async function refused(what: string, attempt: () => Promise<unknown>): Promise<void> {
  const failed = await attempt().then(
    () => false,
    () => true,
  );
  if (!failed) throw new Error(`was not refused: ${what}`);
}

interface Shape {
  readonly bits: 2 | 4 | 8;
  readonly groupSize: number;
  readonly out: number;
  readonly inputs: number;
}

/**
 * Draws a weight and its values `[out, in]`. Zero points are codes; with `fractions`, half of them are shifted by one
 * half.
 */
function drawWeight({ bits, groupSize, out, inputs }: Shape, fractions = true) {
  const size = groupSize === -1 ? inputs : groupSize;
  const groups = Math.ceil(inputs / size);
  const plain = integers(out * inputs, 2 ** bits);
  const codes = new Uint32Array((inputs * bits * out) / 32);
  const scales = normals(groups * out).map((x) => (0.5 + Math.abs(x)) / 2 ** bits);
  const zeros = Float32Array.from(
    { length: groups * out },
    (_, i) => random.integer(2 ** bits) + (fractions && i % 2 ? 0.5 : 0),
  );
  const values = new Float64Array(out * inputs);
  for (let o = 0; o < out; o++) {
    for (let i = 0; i < inputs; i++) {
      const bit = i * bits;
      codes[Math.floor(bit / 32) * out + o] += plain[o * inputs + i] * 2 ** (bit % 32);
      const group = Math.floor(i / size) * out + o;
      values[o * inputs + i] = (plain[o * inputs + i] - zeros[group]) * scales[group];
    }
  }
  return { weight: { outFeatures: out, inFeatures: inputs, bits, groupSize, codes, scales, zeros }, plain, values };
}

function product(x: ArrayLike<number>, w: ArrayLike<number>, tokens: number, out: number, inputs: number) {
  const y = new Float64Array(tokens * out);
  for (let t = 0; t < tokens; t++)
    for (let o = 0; o < out; o++)
      for (let i = 0; i < inputs; i++) y[t * out + o] += x[t * inputs + i] * w[o * inputs + i];
  return y;
}

const shapesOf = (bits: Shape['bits']): readonly Shape[] => [
  { bits, groupSize: 32, out: 40, inputs: 96 },
  { bits, groupSize: 64, out: 13, inputs: 160 },
  { bits, groupSize: 128, out: 72, inputs: 640 },
  { bits, groupSize: 144, out: 16, inputs: 352 },
  { bits, groupSize: -1, out: 9, inputs: 272 },
  { bits, groupSize: 128, out: 24, inputs: 4096 },
];
/** Shapes of weights whose products take inputs of 8 bits. */
const int8Shapes = [...shapesOf(4), ...shapesOf(2)];
const shapes = [...int8Shapes, ...shapesOf(8)];
const tokenCounts = [1, 3, 7, 21];
const describe = ({ bits, groupSize, out, inputs }: Shape) =>
  `${bits} bits, ${groupSize === -1 ? 'per channel' : `groups of ${groupSize}`}, ${inputs} to ${out}`;

/** Products with f32 inputs. */
export const packedProductConformance: readonly PackedConformanceCase<LoadPacked<FloatLinear>>[] = [
  ...shapes.map((shape) => ({
    name: `packed product, ${describe(shape)}`,
    async run(load: LoadPacked<FloatLinear>) {
      const { weight, values } = drawWeight(shape);
      const linear = await load(weight);
      for (const tokens of tokenCounts) {
        const x = normals(tokens * shape.inputs);
        const expected = product(x, values, tokens, shape.out, shape.inputs);
        check(`${tokens} tokens`, await linear.multiply(x, tokens), expected, packedErrorBounds.float);
      }
      linear.dispose();
    },
  })),
  ...([8, 4, 2] as const).map((bits) => ({
    name: `packed product: ${bits} bits, codes of a byte each and one zero point`,
    async run(load: LoadPacked<FloatLinear>) {
      const shape = { bits, groupSize: 32, out: 19, inputs: 96 };
      const { weight, plain } = drawWeight(shape);
      const linear = await load({ ...weight, codes: plain, zeros: weight.zeros.fill(1.5) });
      const values = Float64Array.from(plain, (code, i) => {
        const group = Math.floor((i % shape.inputs) / shape.groupSize) * shape.out + Math.floor(i / shape.inputs);
        return (code - 1.5) * weight.scales[group];
      });
      for (const tokens of tokenCounts) {
        const x = normals(tokens * shape.inputs);
        const expected = product(x, values, tokens, shape.out, shape.inputs);
        check(`${tokens} tokens`, await linear.multiply(x, tokens), expected, packedErrorBounds.float);
      }
      linear.dispose();
    },
  })),
  {
    name: 'packed product: one input at a time gives the weight itself',
    async run(load) {
      const shape = { bits: 4, groupSize: 32, out: 11, inputs: 64 } as const;
      const { weight, values } = drawWeight(shape);
      const linear = await load(weight);
      for (const tokens of [1, shape.inputs]) {
        for (let first = 0; first < shape.inputs; first += tokens) {
          const x = new Float32Array(tokens * shape.inputs);
          for (let t = 0; t < tokens; t++) x[t * shape.inputs + first + t] = 1;
          const y = await linear.multiply(x, tokens);
          const expected = Float64Array.from(
            y,
            (_, i) => values[(i % shape.out) * shape.inputs + first + Math.floor(i / shape.out)],
          );
          check(`input ${first}`, y, expected, 2e-7);
        }
      }
      linear.dispose();
    },
  },
  {
    name: 'packed product: refuses inputs and weights that do not fit',
    async run(load) {
      const { weight } = drawWeight({ bits: 4, groupSize: 32, out: 8, inputs: 64 });
      const linear = await load(weight);
      await refused('63 features', () => linear.multiply(new Float32Array(63), 1));
      check('no token', await linear.multiply(new Float32Array(0), 0), [], 0);
      linear.dispose();
      await refused('a group that ends within a word', () => load({ ...weight, groupSize: 12 }));
      await refused('missing codes', () => load({ ...weight, codes: weight.codes.subarray(1) }));
      await refused('missing scales', () => load({ ...weight, scales: weight.scales.subarray(1) }));
      await refused('missing zeros', () => load({ ...weight, zeros: weight.zeros.subarray(1) }));
    },
  },
];

/** Products with inputs in 8 bits. */
export const packedInt8Conformance: readonly PackedConformanceCase<PackedProducts>[] = [
  ...int8Shapes.map((shape) => ({
    name: `packed product of int8 inputs, ${describe(shape)}`,
    async run(products: PackedProducts) {
      const { weight, values } = drawWeight(shape);
      const linear = await products.load(weight);
      for (const tokens of tokenCounts) {
        const codes = Int8Array.from(integers(tokens * shape.inputs, 256));
        const scales = normals(tokens === 3 ? 1 : tokens);
        const expected = product(codes, values, tokens, shape.out, shape.inputs).map(
          (value, i) => value * scales[scales.length === 1 ? 0 : Math.floor(i / shape.out)],
        );
        const found = await linear.multiplyInt8({ tokens, width: shape.inputs, codes, scales });
        check(`${tokens} tokens`, found, expected, packedErrorBounds.int8);
      }
      linear.dispose();
    },
  })),
  ...([4, 2] as const).map((bits) => ({
    name: `packed product of int8 inputs: ${bits} bits, integers at their limits are exact`,
    async run(products: PackedProducts) {
      const shape = { bits, groupSize: 128, out: 16, inputs: 512 } as const;
      const { weight } = drawWeight(shape, false);
      const linear = await products.load({
        ...weight,
        codes: weight.codes.fill(0xffffffff),
        scales: weight.scales.fill(1),
      });
      const tokens = 5;
      const codes = Int8Array.from(
        { length: tokens * shape.inputs },
        (_, i) => [-128, 127, -128, -1, 127][Math.floor(i / shape.inputs)],
      );
      const found = await linear.multiplyInt8({ tokens, width: shape.inputs, codes, scales: Float32Array.of(1) });
      const expected = Array.from(found, (_, i) => {
        let sum = 0;
        for (let at = 0; at < shape.inputs; at++)
          sum +=
            (2 ** bits - 1 - weight.zeros[Math.floor(at / shape.groupSize) * shape.out + (i % shape.out)]) *
            codes[Math.floor(i / shape.out) * shape.inputs + at];
        return sum;
      });
      check('product', found, expected, 0);
      linear.dispose();
    },
  })),
  {
    name: 'packed products: refuse other widths and what is disposed',
    async run(products) {
      const { weight } = drawWeight({ bits: 2, groupSize: 32, out: 8, inputs: 64 });
      const linear = await products.load(weight);
      const input = { tokens: 1, width: 64, codes: new Int8Array(64), scales: Float32Array.of(1) };
      await refused('another width', () => linear.multiplyInt8({ ...input, width: 32, codes: new Int8Array(32) }));
      await refused('missing scales', () => linear.multiplyInt8({ ...input, scales: new Float32Array(0) }));
      linear.dispose();
      const wide = await products.load(drawWeight({ bits: 8, groupSize: 32, out: 8, inputs: 64 }).weight);
      await refused('codes of 8 bits', () => wide.multiplyInt8(input));
      wide.dispose();
      await refused('a disposed weight', () => linear.multiply(new Float32Array(64), 1));
    },
  },
];

const [heads, kvHeads, headDim, capacity, packed] = [6, 2, 32, 150, 141];

/** A cache and its values `[kvHeads, capacity, headDim]`. */
function drawCache({ bits, along, size }: KvLayout): { kv: PackedKv; values: Float64Array } {
  const plain = integers(kvHeads * capacity * headDim, 2 ** bits);
  const codes = new Uint8Array((plain.length * bits) / 8);
  for (const [i, code] of plain.entries())
    for (let bit = 0; bit < bits; bit++) {
      const at = i * bits + bit;
      codes[at >> 3] |= ((code >> bit) & 1) << (at & 7);
    }
  const perHead = along === 'channels' ? (capacity * headDim) / size : Math.ceil(capacity / size) * headDim;
  const scales = normals(2 * kvHeads * perHead).map((x, i) =>
    i % 2 ? Math.round(2 ** (bits - 1) + x) : (1 + Math.abs(x)) / 2 ** bits,
  );
  const values = Float64Array.from(plain, (code, at) => {
    const channel = at % headDim;
    const position = Math.floor(at / headDim) % capacity;
    const head = Math.floor(at / headDim / capacity);
    const group =
      along === 'channels'
        ? (position * headDim) / size + Math.floor(channel / size)
        : Math.floor(position / size) * headDim + channel;
    const pair = 2 * (head * perHead + group);
    return (code - scales[pair + 1]) * scales[pair];
  });
  return { kv: { bits, along, size, codes, scales }, values };
}

const perToken = (bits: 4 | 8): KvLayout => ({ bits, along: 'channels', size: headDim });
const caches: readonly {
  readonly name: string;
  readonly keys: KvLayout;
  readonly values: KvLayout;
  /** Tokens in f32 before the packed ones. */
  readonly leading?: number;
  readonly window: number;
  readonly tokens: number;
  readonly scale?: number;
  readonly reach?: number;
}[] = [
  { name: '8 bits per token', keys: perToken(8), values: perToken(8), window: 0, tokens: 1 },
  { name: '4-bit keys, 8-bit values', keys: perToken(4), values: perToken(8), window: 0, tokens: 1, scale: 0.4 },
  { name: '8 bits per token, a prompt', keys: perToken(8), values: perToken(8), window: 0, tokens: 37 },
  {
    name: 'KIVI: 2-bit keys per channel, a window',
    keys: { bits: 2, along: 'tokens', size: 32 },
    values: { bits: 2, along: 'channels', size: 16 },
    window: 9,
    tokens: 1,
  },
  {
    name: '4-bit groups of 8 channels, several queries in a window',
    keys: { bits: 4, along: 'channels', size: 8 },
    values: perToken(4),
    window: 5,
    tokens: 8,
  },
  {
    name: '3 bits: keys per channel, values in groups of 16 channels, a window',
    keys: { bits: 3, along: 'tokens', size: 32 },
    values: { bits: 3, along: 'channels', size: 16 },
    window: 4,
    tokens: 3,
  },
  {
    name: '3 bits in groups of 8 channels',
    keys: { bits: 3, along: 'channels', size: 8 },
    values: { bits: 3, along: 'channels', size: headDim },
    window: 0,
    tokens: 1,
  },
  { name: 'a sliding window, one query', keys: perToken(4), values: perToken(4), window: 0, tokens: 1, reach: 7 },
  { name: 'a sliding window, a prompt', keys: perToken(8), values: perToken(4), window: 6, tokens: 37, reach: 70 },
  {
    name: 'a sliding window that reaches over all',
    keys: perToken(8),
    values: perToken(8),
    window: 3,
    tokens: 2,
    reach: 999,
  },
  {
    name: 'first tokens and a window in f32, keys per channel',
    keys: { bits: 2, along: 'tokens', size: 32 },
    values: { bits: 4, along: 'channels', size: headDim },
    leading: 5,
    window: 7,
    tokens: 3,
  },
  {
    name: 'first tokens that a sliding window does not reach',
    keys: perToken(4),
    values: perToken(8),
    leading: 4,
    window: 2,
    tokens: 2,
    reach: 9,
  },
  {
    name: 'first tokens, and no others in f32',
    keys: perToken(8),
    values: perToken(4),
    leading: 1,
    window: 0,
    tokens: 1,
  },
];

/** Attention over a quantized cache. */
export const kvAttentionConformance: readonly PackedConformanceCase<KvAttention>[] = [
  ...caches.map(({ name, leading = 0, window, tokens, ...layouts }) => ({
    name: `attention over a cache: ${name}`,
    async run(attention: KvAttention) {
      const [keys, values] = [drawCache(layouts.keys), drawCache(layouts.values)];
      const queries = normals(tokens * heads * headDim);
      const others = leading + window;
      const unpacked = normals(2 * kvHeads * others * headDim);
      const { scale = 1 / Math.sqrt(headDim), reach } = layouts;
      const at = (x: Float64Array, part: number, head: number, position: number, c: number) =>
        position >= leading && position < leading + packed
          ? x[(head * capacity + position - leading) * headDim + c]
          : unpacked[((part * kvHeads + head) * others + position - (position < leading ? 0 : packed)) * headDim + c];
      const expected = new Float64Array(queries.length);
      for (let t = 0; t < tokens; t++) {
        for (let h = 0; h < heads; h++) {
          const kvHead = Math.floor(h / (heads / kvHeads));
          const start = (t * heads + h) * headDim;
          const visible = packed + others - tokens + t + 1;
          const first = Math.max(0, visible - (reach ?? visible));
          const scores = Array.from({ length: visible - first }, (_, i) => {
            let sum = 0;
            for (let c = 0; c < headDim; c++) sum += queries[start + c] * at(keys.values, 0, kvHead, first + i, c);
            return sum * scale;
          });
          const top = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - top));
          const total = weights.reduce((a, b) => a + b);
          for (const [i, weight] of weights.entries())
            for (let c = 0; c < headDim; c++)
              expected[start + c] += (weight / total) * at(values.values, 1, kvHead, first + i, c);
        }
      }
      const found = await attention({
        ...{
          queries,
          tokens,
          heads,
          kvHeads,
          headDim,
          capacity,
          packed,
          keys: keys.kv,
          values: values.kv,
          ...(others > 0 ? { unpacked } : {}),
          ...(leading > 0 ? { leading } : {}),
          window,
        },
        ...(layouts.scale === undefined ? {} : { scale }),
        ...(reach === undefined ? {} : { reach }),
      });
      check('attention', found, expected, packedErrorBounds.attention);
    },
  })),
  {
    name: 'attention over a cache: refuses arrays that do not fit',
    async run(attention) {
      const { kv } = drawCache(perToken(8));
      const args = {
        ...{ queries: normals(heads * headDim), tokens: 1, heads, kvHeads, headDim, capacity, packed },
        ...{ keys: kv, values: kv },
      };
      await refused('missing scales', () => attention({ ...args, values: { ...kv, scales: kv.scales.subarray(2) } }));
      await refused('missing codes', () => attention({ ...args, keys: { ...kv, codes: kv.codes.subarray(1) } }));
      await refused('more than there is room for', () => attention({ ...args, packed: capacity + 1 }));
      await refused('missing queries', () => attention({ ...args, tokens: 2 }));
      await refused('leading tokens without their values', () => attention({ ...args, leading: 1 }));
      await refused('a reach of nothing', () => attention({ ...args, reach: 0 }));
    },
  },
];

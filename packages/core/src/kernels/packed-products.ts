import { QuantError, ShapeError } from '../contracts/errors.js';
import type { Int8Input } from '../contracts/int8-product.js';
import type { PackedLinear, PackedProducts, PackedWeight } from '../contracts/packed-products.js';

/** Number of groups of a packed weight, and the inputs of each group except the last. */
export interface PackedGroups {
  readonly size: number;
  readonly count: number;
}

/** @throws ShapeError when the shape does not fill words, a group ends within one, or an array has another length */
export function checkPackedWeight(weight: PackedWeight): PackedGroups {
  const { outFeatures, inFeatures, bits, groupSize, codes, scales, zeros } = weight;
  const label = `a ${bits}-bit weight [${outFeatures}, ${inFeatures}] in groups of ${groupSize}`;
  if (bits !== 2 && bits !== 4 && bits !== 8) throw new ShapeError(`${label}: packed products take 2, 4 and 8 bits`);
  const perWord = 32 / bits;
  if (!(outFeatures > 0 && inFeatures > 0) || inFeatures % perWord !== 0)
    throw new ShapeError(`${label}: inputs must fill words of ${perWord} codes`);
  if (groupSize !== -1 && !(groupSize > 0 && groupSize % perWord === 0))
    throw new ShapeError(`${label}: a group must be whole words of ${perWord} codes, or -1 for all inputs`);
  const size = groupSize === -1 ? inFeatures : Math.min(groupSize, inFeatures);
  const count = Math.ceil(inFeatures / size);
  for (const [name, found, needed] of [
    ['codes', codes.length, (codes instanceof Uint8Array ? inFeatures : inFeatures / perWord) * outFeatures],
    ['scales', scales.length, count * outFeatures],
    ['zeros', zeros.length, count * outFeatures],
  ] as const) {
    if (found !== needed) throw new ShapeError(`${label}: ${name} has ${found} values, ${needed} are needed`);
  }
  return { size, count };
}

/** @throws ShapeError when `x` is not `[tokens, in]` */
export function checkPackedInput(x: Float32Array, tokens: number, inFeatures: number): void {
  if (!Number.isInteger(tokens) || tokens < 0 || x.length !== tokens * inFeatures)
    throw new ShapeError(`${x.length} values are not ${tokens} tokens of ${inFeatures} features`);
}

/** @throws ShapeError when the input has another width or number of scales; QuantError for a weight of 8 bits */
export function checkPackedInt8Input(
  { tokens, width, codes, scales }: Int8Input,
  { inFeatures, bits }: Pick<PackedWeight, 'inFeatures' | 'bits'>,
): void {
  if (bits === 8) throw new QuantError('a weight of 8 bits has no products with inputs of 8 bits: use f32 inputs');
  if (width !== inFeatures) throw new ShapeError(`inputs of ${width} features do not fit a weight of ${inFeatures}`);
  if (codes.length !== tokens * width || (scales.length !== tokens && scales.length !== 1))
    throw new ShapeError(
      `${codes.length} codes and ${scales.length} scales are not ${tokens} tokens of ${width} features with a scale each or one for all`,
    );
}

/** Reference: unpacks codes one at a time; f64 (or exact integer) sums in order, rounded once to f32. */
export const referencePackedProducts: PackedProducts = {
  name: 'reference',
  threads: 1,
  load: async (weight) => loadReference(weight),
  dispose: async () => {},
};

function loadReference(weight: PackedWeight): PackedLinear {
  const groups = checkPackedWeight(weight);
  const { outFeatures, inFeatures, bits } = weight;
  const [codes, scales, zeros] = [weight.codes.slice(), weight.scales.slice(), weight.zeros.slice()];
  const perWord = 32 / bits;
  const codeAt = (codes: PackedWeight['codes'], o: number, i: number) =>
    codes instanceof Uint8Array
      ? codes[o * inFeatures + i]
      : (codes[Math.floor(i / perWord) * outFeatures + o] >>> (bits * (i % perWord))) & (2 ** bits - 1);
  let disposed = false;

  /** `sum_g scale (sum code x - zero sum x)` for each token and output. */
  const product = (x: ArrayLike<number>, tokens: number): Float64Array => {
    if (disposed) throw new QuantError('this packed weight is disposed');
    const out = new Float64Array(tokens * outFeatures);
    for (let token = 0; token < tokens; token++) {
      for (let o = 0; o < outFeatures; o++) {
        let sum = 0;
        for (let g = 0; g < groups.count; g++) {
          let [dot, inputs] = [0, 0];
          for (let i = g * groups.size; i < Math.min((g + 1) * groups.size, inFeatures); i++) {
            const code = codeAt(codes, o, i);
            dot += code * x[token * inFeatures + i];
            inputs += x[token * inFeatures + i];
          }
          sum += scales[g * outFeatures + o] * (dot - zeros[g * outFeatures + o] * inputs);
        }
        out[token * outFeatures + o] = sum;
      }
    }
    return out;
  };

  return {
    outFeatures,
    inFeatures,
    bytes: codes.byteLength + scales.byteLength + zeros.byteLength,
    async multiply(x, tokens) {
      checkPackedInput(x, tokens, inFeatures);
      return Float32Array.from(product(x, tokens));
    },
    async multiplyInt8(input) {
      checkPackedInt8Input(input, { inFeatures, bits });
      const scaleOf = (token: number) => input.scales[input.scales.length === 1 ? 0 : token];
      return Float32Array.from(
        product(input.codes, input.tokens),
        (value, i) => value * scaleOf(Math.floor(i / outFeatures)),
      );
    },
    dispose() {
      disposed = true;
    },
  };
}

import {
  awqLayout,
  bitsandbytesInt8Layout,
  compressedTensorsInt8Layout,
  gptqLayout,
  plainLayout,
  type QuantizedLayout,
  type QuantizedModule,
} from '@q/checkpoint';
import {
  absMax127Scale,
  allocate,
  createRandom,
  type DType,
  dequantize,
  elementCount,
  FormatError,
  f32Scale,
  int4,
  int8,
  perChannel,
  perGroup,
  perToken,
  quantize,
  type Random,
  type Scheme,
  scheme,
  type Tensor,
  tensor,
  uint4,
} from '@q/core';
import { mutateBytes, mutateJson } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const linear = { module: 'm', inFeatures: 16, outFeatures: 16, transposed: false, bias: false };
const inputs = scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true });

const kinds: readonly (readonly [QuantizedLayout, Scheme, Partial<QuantizedModule>])[] = [
  [gptqLayout(), scheme({ format: int4, granularity: perGroup(8) }), {}],
  [awqLayout(), scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'integer' }), {}],
  [plainLayout(), scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'float' }), {}],
  [compressedTensorsInt8Layout(), scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale }), {}],
  [
    bitsandbytesInt8Layout(),
    scheme({ format: int8, granularity: perChannel, scaleStorage: absMax127Scale }),
    { activation: { scheme: inputs, outlierThreshold: 6 } },
  ],
];
const dtypes: readonly DType[] = ['f32', 'f16', 'bf16', 'f64', 'i32', 'i8', 'u8', 'i64', 'f8_e4m3'];

/** Another dtype, another shape, or other bytes. */
function mutateTensor({ dtype, shape, data }: Tensor, random: Random): Tensor {
  const kind = random.integer(3);
  if (kind === 0) {
    const other = dtypes[random.integer(dtypes.length)];
    return { dtype: other, shape, data: allocate(other, elementCount(shape)) };
  }
  if (kind === 1) {
    const sizes = shape.map((size) => (random.integer(2) === 0 ? size : random.integer(40)));
    if (random.integer(4) === 0) sizes.push(1 + random.integer(3));
    return { dtype, shape: sizes, data: allocate(dtype, elementCount(sizes)) };
  }
  const bytes = mutateBytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), random);
  const copy = new Uint8Array(data.byteLength);
  copy.set(bytes.subarray(0, copy.length));
  const out = allocate(dtype, data.length);
  new Uint8Array(out.buffer).set(copy);
  return { dtype, shape, data: out };
}

/** The tensors and the config of each layout: what is read must have finite values. */
export const layoutParsers = (): FuzzedParser[] =>
  kinds.map(([layout, own, rest]) => {
    const module: QuantizedModule = { linear, scheme: own, ...rest };
    const random = createRandom(layout.name);
    const weight = tensor(
      'f32',
      [16, 16],
      Float32Array.from({ length: 256 }, () => random.normal()),
    );
    const encoded = layout.encode(module, quantize(weight, own));
    const { config } = layout.config([module], [], { method: 'rtn', options: {} });
    return {
      name: `layout-${layout.name}`,
      async run(random) {
        const tensors = new Map(encoded);
        const settings = random.integer(3) === 0 ? mutateJson(config, random) : config;
        if (settings === config || random.integer(2) === 0) {
          const names = [...tensors.keys()];
          const name = names[random.integer(names.length)];
          if (random.integer(12) === 0) tensors.delete(name);
          else tensors.set(name, mutateTensor(tensors.get(name) as Tensor, random));
        }
        const find = (name: string) => {
          const found = tensors.get(name);
          if (!found) throw new FormatError(`${name} is absent`);
          return found;
        };
        const reader = layout.reader(settings);
        if (
          !reader?.has('m', {
            has: (name) => tensors.has(name),
            shape: (name) => find(name).shape,
            read: async (name) => find(name),
          })
        )
          return { bytes: 1000 };
        const lookup = {
          has: (name: string) => tensors.has(name),
          shape: (name: string) => find(name).shape,
          read: async (name: string) => find(name),
        };
        const quantized = await reader.read('m', lookup);
        // Products beyond f32 are refused by the checkpoint that asks for them.
        dequantize(quantized);
        await reader.activation?.('m', lookup);
        return { bytes: 1000, finite: [quantized.scales, quantized.zeroPoints ?? []] };
      },
    };
  });

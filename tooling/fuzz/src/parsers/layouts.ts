import {
  awqLayout,
  bitsandbytes4bitLayout,
  bitsandbytesInt8Layout,
  compressedTensorsInt8Layout,
  compressedTensorsLayout,
  fbgemmFp8Layout,
  fp8Layout,
  gptqLayout,
  plainLayout,
  type QuantizedLayout,
  type QuantizedModule,
  type TensorLookup,
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
  llama3Bound,
  perChannel,
  perGroup,
  perToken,
  quantize,
  type Random,
  type Scheme,
  scheme,
  schemes,
  signedIntegers,
  type Tensor,
  tensor,
  uint4,
} from '@q/core';
import { mutateBytes, mutateJson } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const linear = { module: 'm', inFeatures: 16, outFeatures: 16, transposed: false, bias: false };
const inputs = scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true });

/** Schemes of each layout. A case has one of them. */
const kinds: readonly (readonly [QuantizedLayout, readonly Scheme[], Partial<QuantizedModule>?])[] = [
  [
    gptqLayout(),
    [
      scheme({ format: int4, granularity: perGroup(8) }),
      scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'integer' }),
      scheme({ format: signedIntegers[1], granularity: perChannel }),
    ],
  ],
  [awqLayout(), [scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'integer' })]],
  [
    plainLayout(),
    [
      scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'float' }),
      schemes.nvfp4,
      schemes.mxfp4,
      schemes.ternary,
      schemes.nf4DoubleQuantized,
    ],
  ],
  [
    compressedTensorsLayout(),
    [
      scheme({ format: int4, granularity: perGroup(8) }),
      scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'integer' }),
      scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale }),
    ],
  ],
  [compressedTensorsInt8Layout(), [scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale })]],
  [fp8Layout(), [schemes.fp8RowWise, schemes.fp8TensorWise, schemes.fp8BlockWise]],
  [
    fbgemmFp8Layout(),
    [schemes.fp8RowWise],
    { activation: { scheme: schemes.activations.fp8RowWise, bound: llama3Bound } },
  ],
  [
    bitsandbytesInt8Layout(),
    [scheme({ format: int8, granularity: perChannel, scaleStorage: absMax127Scale })],
    { activation: { scheme: inputs, outlierThreshold: 6 } },
  ],
  [bitsandbytes4bitLayout('nf4'), [schemes.nf4, schemes.nf4DoubleQuantized]],
  [bitsandbytes4bitLayout('fp4'), [schemes.bnbFp4]],
];
const dtypes: readonly DType[] = ['f32', 'f16', 'bf16', 'f64', 'i32', 'i8', 'u8', 'i64', 'f8_e4m3'];

/** A tensor with another dtype, another shape, or other bytes. */
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

interface Stored {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly config: Record<string, unknown>;
}

function stored(layout: QuantizedLayout, module: QuantizedModule): Stored {
  const refusal = layout.refuse(module);
  if (refusal) throw new Error(`${layout.name}: ${refusal}`);
  const random = createRandom(layout.name);
  const weight = tensor(
    'f32',
    [16, 16],
    Float32Array.from({ length: 256 }, () => random.normal()),
  );
  return {
    tensors: layout.encode(module, quantize(weight, module.scheme)),
    config: layout.config([module], [], { method: 'rtn', options: {} }).config,
  };
}

/** Reads the tensors and the config of each layout. The values must be finite. */
export const layoutParsers = (): FuzzedParser[] =>
  kinds.map(([layout, own, rest]) => {
    const all = own.map((each) => stored(layout, { linear, scheme: each, ...rest }));
    return {
      name: `layout-${layout.name}`,
      async run(random) {
        const { tensors: encoded, config } = all[random.integer(all.length)];
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
        const lookup: TensorLookup = {
          has: (name) => tensors.has(name),
          shape: (name) => find(name).shape,
          read: async (name) => find(name),
        };
        const reader = layout.reader(settings);
        if (!reader?.has('m', lookup)) return { bytes: 1000 };
        const quantized = await reader.read('m', lookup);
        // The checkpoint refuses products beyond f32.
        dequantize(quantized);
        await reader.activation?.('m', lookup);
        return { bytes: 1000, finite: [quantized.scales, quantized.zeroPoints ?? []] };
      },
    };
  });

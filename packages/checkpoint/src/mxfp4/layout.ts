import {
  e8m0,
  FormatError,
  type LinearDescription,
  lsbFirst,
  type QuantizedTensor,
  schemes,
  type Tensor,
  tensor,
} from '@q/core';
import type { LayoutDeclaration, LayoutReader, QuantizedLayout, QuantizedModule, TensorLookup } from '../layout.js';
import { readIntegers, shapeOf } from '../stored-values.js';

const scheme = schemes.mxfp4;
const groupSize = 32;
const groupBytes = 16;
const nanExponent = 255;

/**
 * MXFP4 experts as in the published gpt-oss (docs/reference/file-formats.md#mx-blocks): `blocks` `[out, in / 32, 16]`,
 * two E2M1 codes a byte, the even one in the low half, and `scales` `[out, in / 32]`, E8M0. One tensor of a file has
 * those of all experts; all other tensors stay as they are.
 */
export function mxfp4Layout(): QuantizedLayout {
  return {
    name: 'mxfp4',
    stacks: true,
    leaves: ({ stacked }: LinearDescription) =>
      stacked ? undefined : 'the mxfp4 layout holds only experts of models that store them in one tensor (gpt_oss)',
    refuse,
    plan: ({ linear: { module, inFeatures, outFeatures } }) => [
      { name: `${module}.blocks`, dtype: 'U8', shape: [outFeatures, inFeatures / groupSize, groupBytes] },
      { name: `${module}.scales`, dtype: 'U8', shape: [outFeatures, inFeatures / groupSize] },
    ],
    encode: ({ linear: { module } }, { codes, scales, shape }) => {
      const [rows, columns] = shape as [number, number];
      const exponents = Uint8Array.from(scales, (scale) => e8m0.encode(scale));
      return new Map<string, Tensor>([
        [
          `${module}.blocks`,
          tensor('u8', [rows, columns / groupSize, groupBytes], lsbFirst(4).pack(codes as Uint8Array)),
        ],
        [`${module}.scales`, tensor('u8', [rows, columns / groupSize], exponents)],
      ]);
    },
    config: (_modules, kept, { head }) => ({
      config: {
        // Names in the form that readers match: a part of a module's name, with `*` for the number of its layer.
        modules_to_not_convert: [
          ...new Set([
            ...kept.map((name) => name.replace(/\.\d+\./g, '.*.').replace(/\.[^.]*$/, '')),
            'model.layers.*.mlp.router',
            'model.embed_tokens',
            ...(head === undefined ? [] : [head]),
          ]),
        ],
        quant_method: 'mxfp4',
      },
      files: new Map(),
    }),
    reader: (config) => (config.quant_method === 'mxfp4' ? reader : undefined),
  };
}

function refuse({ linear, scheme: wanted, activation, codebook, reordered }: QuantizedModule): string | undefined {
  if (JSON.stringify(wanted) !== JSON.stringify(scheme) || codebook)
    return 'the mxfp4 layout stores E2M1 in blocks of 32 with a shared exponent: use --weights mxfp4';
  if (reordered) return 'the mxfp4 layout has no table of reordered columns: use --no-act-order, or static groups';
  if (linear.inFeatures % groupSize !== 0)
    return `blocks of ${groupSize} do not divide its ${linear.inFeatures} input features`;
  return activation ? 'the mxfp4 layout stores weights alone, without quantized inputs' : undefined;
}

const reader: LayoutReader = {
  layout: 'mxfp4',
  has: (module, tensors) => tensors.has(`${module}.blocks`),
  tensors: (module) => ['blocks', 'scales'].map((part) => `${module}.${part}`),
  read,
};

async function read(module: string, tensors: TensorLookup): Promise<QuantizedTensor> {
  const blocks = `${module}.blocks`;
  const [rows = 0, groups = 0, bytes] = shapeOf(tensors, blocks, 3);
  if (bytes !== groupBytes)
    throw new FormatError(`${blocks}: blocks of ${bytes} bytes were found; ${groupBytes} were expected`);
  const packed = await readIntegers<Uint8Array>(tensors, blocks, 'u8', [rows, groups, groupBytes]);
  const exponents = await readIntegers<Uint8Array>(tensors, `${module}.scales`, 'u8', [rows, groups]);
  const nan = exponents.indexOf(nanExponent);
  if (nan >= 0) throw new FormatError(`${module}.scales: element ${nan} is NaN (255): repair the file`);
  const columns = groups * groupSize;
  return {
    scheme,
    shape: [rows, columns],
    codes: lsbFirst(4).unpack(packed, rows * columns),
    scales: Float32Array.from(exponents, (code) => e8m0.decode(code)),
  };
}

/** The layout for the command and recipes. */
export const mxfp4LayoutDeclaration: LayoutDeclaration = {
  name: 'mxfp4',
  summary: 'experts of gpt-oss as it was published, read by transformers and vLLM',
  options: {},
  defaults: { weights: 'mxfp4' },
  make: () => mxfp4Layout(),
};

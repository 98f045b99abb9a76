import { plainStream, type QuantizedTensor, quantize, type Scheme, type StreamKernels, type Tensor } from '@q/core';
import { type Check, expectThat } from './conformance-case.js';
import { linearData } from './linear-data.js';

interface Module {
  readonly linear: {
    readonly module: string;
    readonly outFeatures: number;
    readonly inFeatures: number;
    readonly transposed: boolean;
    readonly bias: boolean;
  };
  readonly scheme: Scheme;
}

interface Lookup {
  has(name: string): boolean;
  shape(name: string): readonly number[];
  read(name: string): Promise<Tensor>;
}

/** The part of `QuantizedLayout` of `@q/checkpoint` that the checks use: writing and reading. */
export interface TestedLayout {
  readonly name: string;
  refuse(module: Module): string | undefined;
  plan(module: Module): readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];
  encode(module: Module, quantized: QuantizedTensor, stream: StreamKernels): ReadonlyMap<string, Tensor>;
  config(
    modules: readonly Module[],
    kept: readonly string[],
    record: { readonly method: string; readonly options: Readonly<Record<string, unknown>> },
  ): { readonly config: Record<string, unknown> };
  reader(
    config: Record<string, unknown>,
  ):
    | { has(module: string, tensors: Lookup): boolean; read(module: string, tensors: Lookup): Promise<QuantizedTensor> }
    | undefined;
}

/**
 * The checks of a layout: it writes the tensors that it planned, and reads the tensors that it wrote.
 * @param schemes that the layout can hold
 * @param shape `[out, in]` that the layout can hold
 */
export function layoutConformance(
  schemes: readonly Scheme[],
  shape: readonly [number, number] = [64, 128],
): readonly Check<TestedLayout>[] {
  return schemes.map((of) => ({
    name: `${of.format.name}: planned, written and read back`,
    async run(layout) {
      const [outFeatures, inFeatures] = shape;
      const linear = { module: 'a.b', outFeatures, inFeatures, transposed: false, bias: false };
      const module: Module = { linear, scheme: of };
      const refusal = layout.refuse(module);
      expectThat(refusal === undefined, () => `${layout.name} refuses: ${refusal}`);
      const quantized = quantize(linearData('layout', outFeatures, inFeatures).weight, of);
      const tensors = layout.encode(module, quantized, plainStream);
      for (const { name, dtype, shape: planned } of layout.plan(module)) {
        const written = tensors.get(name);
        expectThat(written !== undefined, () => `${name} was planned and not written`);
        expectThat(
          written.dtype === dtype.toLowerCase() && `${written.shape}` === `${planned}`,
          () => `${name} is ${written.dtype} [${written.shape}], ${dtype} [${planned}] was planned`,
        );
      }
      const { config } = layout.config([module], [], { method: 'conformance', options: {} });
      const reader = layout.reader(JSON.parse(JSON.stringify(config)));
      expectThat(reader !== undefined, () => 'does not recognise the config that it wrote');
      const lookup = lookupOf(tensors);
      expectThat(reader.has('a.b', lookup) && !reader.has('a.c', lookup), () => 'finds the wrong modules');
      const read = await reader.read('a.b', lookup);
      for (const part of ['codes', 'scales', 'zeroPoints'] as const)
        expectThat(
          `${read[part] ?? ''}` === `${quantized[part] ?? ''}`,
          () => `the ${part} that were read are other ones`,
        );
      expectThat(
        layout.reader({ quant_method: 'of another layout' }) === undefined,
        () => 'takes any config for its own',
      );
    },
  }));
}

function lookupOf(tensors: ReadonlyMap<string, Tensor>): Lookup {
  const find = (name: string): Tensor => {
    const found = tensors.get(name);
    if (!found) throw new Error(`there is no tensor ${name}`);
    return found;
  };
  return { has: (name) => tensors.has(name), shape: (name) => find(name).shape, read: async (name) => find(name) };
}

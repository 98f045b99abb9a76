import {
  createContext,
  perGroup,
  type QuantizedTensor,
  type Quantizer,
  type Scheme,
  scheme,
  tensor,
  uint4,
} from '@q/core';
import { type Check, expectThat } from './conformance-case.js';
import { collect, definition, type LinearData, linearData, outputError, roundToNearest } from './linear-data.js';

export interface QuantizerConformanceOptions {
  /** Schemes with which the quantizer is checked. Default: uint4 with zero points, groups of 16. */
  readonly schemes?: readonly Scheme[];
  /**
   * Largest allowed error of the linear's outputs, as a multiple of round-to-nearest's error on the range of the values.
   * Default 1.05: the quantizer must not be worse, except for the rounding of scales to f16, which round-to-nearest
   * does not have here.
   */
  readonly largestError?: number;
}

/**
 * The checks of a quantizer: shapes, ragged groups, degenerate weights, determinism, and an error no larger than
 * round-to-nearest's.
 */
export function quantizerConformance(options: QuantizerConformanceOptions = {}): readonly Check<Quantizer>[] {
  const standard = scheme({ format: uint4, granularity: perGroup(16), zeroPoint: 'integer' });
  const { schemes = [standard], largestError = 1.05 } = options;
  return schemes.flatMap((of) => checksFor(of, largestError));
}

async function quantizeLinear(quantizer: Quantizer, data: LinearData, of: Scheme): Promise<QuantizedTensor> {
  const before = data.weight.data.slice();
  const context = createContext({ seed: 7 });
  const { quantized, report } = await quantizer.quantize(
    data.weight,
    await collect(quantizer.needs, data),
    of,
    context,
  );
  expectThat(
    data.weight.data.every((value, i) => value === before[i]),
    () => 'the weight was changed: a quantizer leaves its input as it is',
  );
  expectThat(typeof report.method === 'string' && report.method !== '', () => 'report.method does not name a method');
  for (const [name, value] of Object.entries(report.figures))
    expectThat(Number.isFinite(value), () => `report.figures.${name} is ${value}`);
  return quantized;
}

/** Checks that codes, scales and zero points exist, are complete and are finite. */
function checkTensor(quantized: QuantizedTensor, { rows, columns }: LinearData): void {
  const { scheme: of, shape, codes, scales, zeroPoints } = quantized;
  expectThat(`${shape}` === `${[rows, columns]}`, () => `shape is [${shape}], [${rows},${columns}] was expected`);
  expectThat(codes.length === rows * columns, () => `there are ${codes.length} codes, ${rows * columns} were expected`);
  const bad = codes.findIndex((code: number) => code >= 2 ** of.format.bits);
  expectThat(bad < 0, () => `code ${bad} is ${codes[bad]}, beyond ${of.format.bits} bits`);
  const odd = scales.findIndex((scale) => !Number.isFinite(scale) || scale === 0);
  expectThat(odd < 0, () => `scale ${odd} is ${scales[odd]}`);
  if (of.zeroPoint !== 'none')
    expectThat(
      zeroPoints?.length === scales.length && zeroPoints.every(Number.isFinite),
      () => `zero points do not go with the ${scales.length} scales`,
    );
}

function checksFor(of: Scheme, largestError: number): readonly Check<Quantizer>[] {
  const shapes: readonly (readonly [string, number, number])[] = [
    ['whole groups', 24, 64],
    ['a ragged last group', 12, 40],
    ['fewer columns than a group', 6, 10],
    ['one row', 1, 32],
  ];
  const label = of.format.name;
  return [
    ...shapes.map(
      ([name, rows, columns]): Check<Quantizer> => ({
        name: `${label}, ${name}: codes, scales and the error of the outputs`,
        async run(quantizer) {
          const data = linearData(name, rows, columns);
          const quantized = await quantizeLinear(quantizer, data, of);
          checkTensor(quantized, data);
          const error = outputError(definition(quantized, data), data);
          const nearest = outputError(roundToNearest(data, of), data);
          expectThat(
            error <= largestError * nearest + 1e-12,
            () =>
              `the outputs' error is ${error / nearest} times that of round to nearest, at most ${largestError} was expected`,
          );
        },
      }),
    ),
    {
      name: `${label}: the same bytes twice`,
      async run(quantizer) {
        const data = linearData('twice', 8, 48);
        const [first, second] = [await quantizeLinear(quantizer, data, of), await quantizeLinear(quantizer, data, of)];
        expectThat(
          `${first.codes}` === `${second.codes}` && `${first.scales}` === `${second.scales}`,
          () => 'two runs of one seed gave other codes or scales',
        );
      },
    },
    ...([0, 1, -3e-6, 1e-30, 2e4] as const).map(
      (value): Check<Quantizer> => ({
        name: `${label}: all weights ${value}`,
        async run(quantizer) {
          const data = linearData('constant', 4, 32);
          const constant = { ...data, weight: tensor('f32', [4, 32], new Float32Array(128).fill(value)) };
          const quantized = await quantizeLinear(quantizer, constant, of);
          checkTensor(quantized, constant);
          const values = definition(quantized, constant);
          expectThat(values.every(Number.isFinite), () => 'a value is not finite');
          if (value === 0)
            expectThat(
              values.every((x) => x === 0),
              () => 'weights of zero came back as something else',
            );
        },
      }),
    ),
  ];
}

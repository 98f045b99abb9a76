import { isQuantError, type NumberFormat } from '@q/core';
import { type Check, expectThat } from './conformance-case.js';

/** The checks of a number format: its codes, nearest values (compared with all values), saturation, NaN, its name. */
export const numberFormatConformance: readonly Check<NumberFormat>[] = [
  {
    name: 'values of codes inside of the range encode back to a code of the same value',
    run(format) {
      const values = finiteValues(format);
      expectThat(values.length > 1, () => `${format.name} has ${values.length} finite values`);
      for (const [code, value] of values) {
        const back = format.decode(format.encode(value));
        expectThat(back === value, () => `${value} (code ${code}) encodes to a code of ${back}`);
      }
    },
  },
  {
    name: 'encode takes a nearest value',
    run(format) {
      const values = finiteValues(format).map(([, value]) => value);
      const sorted = [...new Set(values)].sort((a, b) => a - b).slice(0, 4096);
      for (let i = 0; i + 1 < sorted.length; i++)
        for (const share of [0.1, 0.4, 0.6, 0.9]) {
          const x = sorted[i] + share * (sorted[i + 1] - sorted[i]);
          const found = Math.abs(format.decode(format.encode(x)) - x);
          const least = Math.min(x - sorted[i], sorted[i + 1] - x);
          expectThat(
            found <= least * (1 + 1e-9),
            () => `${x} is rounded by ${found}, the nearest value is ${least} away`,
          );
        }
    },
  },
  {
    name: 'values beyond the range saturate',
    run(format) {
      expectThat(
        format.decode(format.encode(2 * Math.abs(format.max) + 1)) === format.max,
        () => 'no saturation above',
      );
      const below = orQuantError(() => format.decode(format.encode(-2 * Math.abs(format.min) - 1)));
      expectThat(below === undefined || below === format.min, () => `no saturation below: ${below}`);
    },
  },
  {
    name: 'NaN gives NaN or a QuantError, and the name is what JSON holds',
    run(format) {
      const found = orQuantError(() => format.decode(format.encode(Number.NaN)));
      expectThat(found === undefined || Number.isNaN(found), () => `NaN became ${found}`);
      expectThat(
        JSON.stringify(format) === JSON.stringify(format.name),
        () => `${format.name} is not written as its name`,
      );
    },
  },
];

/** Undefined if `run` throws a QuantError: a format may have no code for NaN, or for values below 0. */
function orQuantError(run: () => number): number | undefined {
  try {
    return run();
  } catch (error) {
    expectThat(isQuantError(error), () => `${error}`);
    return undefined;
  }
}

/** Codes with values inside of the format's range. Other codes are read and never written (-2 of MXINT8). */
function finiteValues({ bits, min, max, decode }: NumberFormat): readonly (readonly [number, number])[] {
  return Array.from({ length: 2 ** Math.min(bits, 16) }, (_, code) => [code, decode(code)] as const).filter(
    ([, value]) => value >= min && value <= max,
  );
}

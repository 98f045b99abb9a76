import {
  createContext,
  createRandom,
  type QuantizedTensor,
  type Scheme,
  type Statistic,
  type Statistics,
  type Tensor,
  tensor,
} from '@q/core';

/** A linear with calibration inputs `[tokens, columns]`. A few columns are much larger than the others. */
export interface LinearData {
  readonly weight: Tensor<'f32'>;
  readonly rows: number;
  readonly columns: number;
  readonly inputs: Float32Array;
  readonly tokens: number;
}

/** Makes weights and inputs with a seeded generator. */
export function linearData(seed: string, rows: number, columns: number, tokens = 96): LinearData {
  const random = createRandom(`conformance ${seed}`);
  const size = Float64Array.from({ length: columns }, (_, j) => (j % 17 === 3 ? 8 : 1));
  return {
    ...{ rows, columns, tokens },
    weight: tensor(
      'f32',
      [rows, columns],
      Float32Array.from({ length: rows * columns }, () => 0.1 * random.normal()),
    ),
    inputs: Float32Array.from({ length: tokens * columns }, (_, i) => size[i % columns] * random.normal()),
  };
}

/** Collects the statistics that a method needs from the inputs. The unquantized model has the same statistics here. */
export async function collect(needs: readonly Statistic<any>[], data: LinearData): Promise<Statistics> {
  const { inputs: x, tokens, columns: width, rows } = data;
  const { kernels } = createContext();
  const states = new Map<string, unknown>();
  for (const statistic of needs) {
    const state = statistic.create(width);
    const residual = new Float32Array(tokens * rows).fill(1);
    const batch = { x, tokens, width, reference: x, residual, residualError: new Float32Array(tokens * rows) };
    await statistic.update(state, batch, kernels);
    states.set(statistic.name, state);
  }
  return {
    get<State>({ name }: Statistic<State>): State {
      if (!states.has(name)) throw new Error(`the method reads the statistic ${name}, which it does not need`);
      return states.get(name) as State;
    },
    has: ({ name }) => states.has(name),
  };
}

/**
 * The values of a quantized matrix in f64 by the definition: `(decode(code) - zero) * scale` of the group of the
 * column.
 */
export function definition(quantized: QuantizedTensor, { rows, columns }: LinearData): Float64Array {
  const { scheme, codes, scales, zeroPoints, groupIndex } = quantized;
  const size = groupSize(scheme, columns);
  const groups = Math.ceil(columns / size);
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    const group = row * groups + (groupIndex ? groupIndex[column] : Math.floor(column / size));
    return (scheme.format.decode(codes[at]) - (zeroPoints?.[group] ?? 0)) * scales[group];
  });
}

function groupSize({ granularity }: Scheme, columns: number): number {
  return granularity.kind === 'group' ? granularity.size : columns;
}

/** `||X (W - Q)^T||^2` in f64. */
export function outputError(values: ArrayLike<number>, { weight, inputs, rows, columns, tokens }: LinearData): number {
  let sum = 0;
  for (let t = 0; t < tokens; t++)
    for (let row = 0; row < rows; row++) {
      let difference = 0;
      for (let j = 0; j < columns; j++)
        difference += inputs[t * columns + j] * (weight.data[row * columns + j] - values[row * columns + j]);
      sum += difference ** 2;
    }
  return sum;
}

/** Round-to-nearest on the range of each group, in f64. Every method is compared with it. */
export function roundToNearest(data: LinearData, scheme: Scheme): Float64Array {
  const { weight, rows, columns } = data;
  const { min, max } = scheme.format;
  const size = groupSize(scheme, columns);
  const out = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let begin = 0; begin < columns; begin += size) {
      const own = Array.from(
        weight.data.subarray(row * columns + begin, row * columns + Math.min(columns, begin + size)),
      );
      const [low, high] = [Math.min(0, ...own), Math.max(0, ...own)];
      const symmetric = scheme.zeroPoint === 'none';
      const scale = symmetric ? (2 * Math.max(-low, high)) / (max - min) : (high - low) / (max - min);
      const zero = symmetric ? 0 : Math.round(min - low / (scale || 1));
      own.forEach((value, i) => {
        const code = Math.min(max, Math.max(min, Math.round(value / (scale || 1)) + zero));
        out[row * columns + begin + i] = (code - zero) * scale;
      });
    }
  return out;
}

import { FormatError, type TableFormat } from '@q/core';
import { type AdamWOptions, adamW } from './adamw.js';
import type { Optimizer, ParameterSet } from './optimizer.js';

export interface BlockwiseAdamWOptions extends AdamWOptions {
  /** Number of elements that share a scale. */
  readonly blockSize?: number;
  /** Tensors of fewer elements keep their states in f32, as in bitsandbytes. Default 4096. */
  readonly smallest?: number;
}

/** The storage of the moments. */
export interface BlockwiseStates {
  readonly name: string;
  /** Two codes of 4 bits share a byte. */
  readonly bits: 8 | 4;
  readonly blockSize: number;
  /** Table for the first moment, divided by the largest magnitude of its block, and table for the second moment. */
  readonly first: TableFormat;
  readonly second: TableFormat;
}

/**
 * AdamW with both moments in few bits: blocks with an f32 scale each, and codes of a table. A step reads a block,
 * computes in f64, and writes it back rounded. The parameters themselves stay in f32.
 */
export function blockwiseAdamW(states: BlockwiseStates, options: BlockwiseAdamWOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0, decays = () => true } = options;
  const { blockSize = states.blockSize, smallest = 4096 } = options;
  const { bits } = states;
  const exact = adamW(options);
  const first = new Map<string, BlockState>();
  const second = new Map<string, BlockState>();
  let steps = 0;
  const quantizes = (values: Float32Array) => values.length >= smallest;
  const part = (set: ParameterSet, large: boolean) => new Map([...set].filter(([, x]) => quantizes(x) === large));
  return {
    name: states.name,
    options: { beta1, beta2, epsilon, decay, blockSize, smallest },
    step(parameters, gradients, rate) {
      steps++;
      exact.step(part(parameters, false), gradients, rate);
      const correct1 = 1 - beta1 ** steps;
      const correct2 = 1 - beta2 ** steps;
      const m = new Float64Array(blockSize);
      const v = new Float64Array(blockSize);
      for (const [name, x] of part(parameters, true)) {
        const g = gradients.get(name) as Float32Array;
        const own = [first, second].map((each) => stateOf(each, name, x.length, states, blockSize));
        const size = rate(name);
        const shrink = decay > 0 && decays(name) ? 1 - size * decay : 1;
        for (let start = 0, block = 0; start < x.length; start += blockSize, block++) {
          const end = Math.min(start + blockSize, x.length);
          readBlock(states.first, own[0], block, [start, end], m);
          readBlock(states.second, own[1], block, [start, end], v);
          for (let i = start, k = 0; i < end; i++, k++) {
            m[k] += (1 - beta1) * (g[i] - m[k]);
            v[k] += (1 - beta2) * (g[i] * g[i] - v[k]);
            x[i] = x[i] * shrink - (size * (m[k] / correct1)) / (Math.sqrt(v[k] / correct2) + epsilon);
          }
          writeBlock(states.first, own[0], block, [start, end], m);
          writeBlock(states.second, own[1], block, [start, end], v);
        }
      }
    },
    stateBytes: (parameters) => 2 * (Math.ceil((parameters * bits) / 8) + 4 * Math.ceil(parameters / blockSize)),
    heldBytes: () =>
      [...first.values(), ...second.values()].reduce(
        (sum, { codes, scales }) => sum + codes.byteLength + scales.byteLength,
        exact.heldBytes(),
      ),
    save: () =>
      new Map([
        [`steps${bits}`, Float32Array.of(steps)],
        ...exact.save(),
        ...[...first].flatMap(([name, state]) => savedBlocks(`first${bits}/${name}`, state)),
        ...[...second].flatMap(([name, state]) => savedBlocks(`second${bits}/${name}`, state)),
      ]),
    load(state) {
      steps = state.get(`steps${bits}`)?.[0] ?? 0;
      exact.load(new Map([...state].filter(([key]) => !/^(first|second|steps)[84]/.test(key))));
      for (const [prefix, held] of [
        [`first${bits}/`, first],
        [`second${bits}/`, second],
      ] as const)
        for (const [key, scales] of state) {
          if (!key.startsWith(prefix) || !key.endsWith('/scales')) continue;
          const name = key.slice(prefix.length, -'/scales'.length);
          const codes = state.get(`${prefix}${name}/codes`);
          if (!codes) throw new FormatError(`the training checkpoint has no ${prefix}${name}/codes: it is not whole`);
          held.set(name, { bits, codes: Uint8Array.from(codes), scales: scales.slice() });
        }
    },
  };
}

interface BlockState {
  readonly bits: 8 | 4;
  readonly codes: Uint8Array;
  /** Largest magnitude of each block. */
  readonly scales: Float32Array;
}

function stateOf(
  held: Map<string, BlockState>,
  name: string,
  length: number,
  { bits }: BlockwiseStates,
  blockSize: number,
): BlockState {
  let found = held.get(name);
  if (!found) {
    // A block of scale 0 reads as zeros for all codes.
    const codes = new Uint8Array(Math.ceil((length * bits) / 8));
    found = { bits, codes, scales: new Float32Array(Math.ceil(length / blockSize)) };
    held.set(name, found);
  }
  return found;
}

type Range = readonly [start: number, end: number];

function readBlock(
  map: TableFormat,
  { bits, codes, scales }: BlockState,
  block: number,
  range: Range,
  out: Float64Array,
) {
  const [start, end] = range;
  const scale = scales[block];
  for (let i = start, k = 0; i < end; i++, k++) {
    const code = bits === 8 ? codes[i] : (codes[i >> 1] >> (4 * (i & 1))) & 15;
    out[k] = map.levels[code] * scale;
  }
}

function writeBlock(
  map: TableFormat,
  { bits, codes, scales }: BlockState,
  block: number,
  [start, end]: Range,
  values: Float64Array,
): void {
  let largest = 0;
  for (let k = 0; k < end - start; k++) largest = Math.max(largest, Math.abs(values[k]));
  const scale = Math.fround(largest);
  scales[block] = scale;
  for (let i = start, k = 0; i < end; i++, k++) {
    const code = scale === 0 ? 0 : map.encode(values[k] / scale);
    if (bits === 8) codes[i] = code;
    else codes[i >> 1] = (codes[i >> 1] & (i & 1 ? 15 : 240)) | (code << (4 * (i & 1)));
  }
}

/** Codes as numbers. A store has f32 arrays, which hold codes exactly. */
const savedBlocks = (name: string, { codes, scales }: BlockState): [string, Float32Array][] => [
  [`${name}/codes`, Float32Array.from(codes)],
  [`${name}/scales`, scales],
];

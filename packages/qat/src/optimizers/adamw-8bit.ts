import { dynamicMap, FormatError, type TableFormat, unsignedDynamicMap } from '@q/core';
import { type AdamWOptions, adamW } from './adamw.js';
import type { Optimizer, ParameterSet } from './optimizer.js';

export interface AdamW8bitOptions extends AdamWOptions {
  /** Elements that share a scale. Default 256. */
  readonly blockSize?: number;
  /** Tensors of fewer elements keep their states in f32, as in bitsandbytes. Default 4096. */
  readonly smallest?: number;
}

/**
 * AdamW whose two moments are kept in 8 bits (Dettmers et al., arXiv 2110.02861): blocks of 256 with an f32 scale each, codes of the
 * dynamic map, signed for the first moment and unsigned for the second. A step reads a block, computes in f64 and writes it back
 * rounded; the parameters themselves stay in f32. 2.03 bytes of state a parameter instead of 8.
 */
export function adamW8bit(options: AdamW8bitOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0, decays = () => true } = options;
  const { blockSize = 256, smallest = 4096 } = options;
  const exact = adamW(options);
  const first = new Map<string, BlockState>();
  const second = new Map<string, BlockState>();
  let steps = 0;
  const quantizes = (values: Float32Array) => values.length >= smallest;
  const part = (set: ParameterSet, large: boolean) => new Map([...set].filter(([, x]) => quantizes(x) === large));
  return {
    name: 'adamW8bit',
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
        const states = [stateOf(first, name, x.length, blockSize), stateOf(second, name, x.length, blockSize)] as const;
        const size = rate(name);
        const shrink = decay > 0 && decays(name) ? 1 - size * decay : 1;
        for (let start = 0, block = 0; start < x.length; start += blockSize, block++) {
          const end = Math.min(start + blockSize, x.length);
          readBlock(dynamicMap, states[0], block, start, end, m);
          readBlock(unsignedDynamicMap, states[1], block, start, end, v);
          for (let i = start, k = 0; i < end; i++, k++) {
            m[k] += (1 - beta1) * (g[i] - m[k]);
            v[k] += (1 - beta2) * (g[i] * g[i] - v[k]);
            x[i] = x[i] * shrink - (size * (m[k] / correct1)) / (Math.sqrt(v[k] / correct2) + epsilon);
          }
          writeBlock(dynamicMap, states[0], block, start, end, m);
          writeBlock(unsignedDynamicMap, states[1], block, start, end, v);
        }
      }
    },
    stateBytes: (parameters) => 2 * (parameters + 4 * Math.ceil(parameters / blockSize)),
    heldBytes: () =>
      [...first.values(), ...second.values()].reduce(
        (sum, { codes, scales }) => sum + codes.byteLength + scales.byteLength,
        exact.heldBytes(),
      ),
    save: () =>
      new Map([
        ['steps8', Float32Array.of(steps)],
        ...exact.save(),
        ...[...first].flatMap(([name, state]) => savedBlocks(`first8/${name}`, state)),
        ...[...second].flatMap(([name, state]) => savedBlocks(`second8/${name}`, state)),
      ]),
    load(state) {
      steps = state.get('steps8')?.[0] ?? 0;
      exact.load(new Map([...state].filter(([key]) => !/^(first|second|steps)8/.test(key))));
      for (const [prefix, states] of [
        ['first8/', first],
        ['second8/', second],
      ] as const)
        for (const [key, scales] of state) {
          if (!key.startsWith(prefix) || !key.endsWith('/scales')) continue;
          const name = key.slice(prefix.length, -'/scales'.length);
          const codes = state.get(`${prefix}${name}/codes`);
          if (!codes) throw new FormatError(`the training checkpoint has no ${prefix}${name}/codes: it is not whole`);
          states.set(name, { codes: Uint8Array.from(codes), scales: scales.slice() });
        }
    },
  };
}

interface BlockState {
  readonly codes: Uint8Array;
  /** Largest magnitude of each block. */
  readonly scales: Float32Array;
}

function stateOf(states: Map<string, BlockState>, name: string, length: number, blockSize: number): BlockState {
  let found = states.get(name);
  if (!found) {
    // Blocks of scale 0 read as zeros, whatever their codes.
    found = { codes: new Uint8Array(length), scales: new Float32Array(Math.ceil(length / blockSize)) };
    states.set(name, found);
  }
  return found;
}

function readBlock(
  map: TableFormat,
  state: BlockState,
  block: number,
  start: number,
  end: number,
  out: Float64Array,
): void {
  const scale = state.scales[block];
  for (let i = start, k = 0; i < end; i++, k++) out[k] = map.levels[state.codes[i]] * scale;
}

function writeBlock(
  map: TableFormat,
  state: BlockState,
  block: number,
  start: number,
  end: number,
  values: Float64Array,
): void {
  let largest = 0;
  for (let k = 0; k < end - start; k++) largest = Math.max(largest, Math.abs(values[k]));
  const scale = Math.fround(largest);
  state.scales[block] = scale;
  for (let i = start, k = 0; i < end; i++, k++) state.codes[i] = scale === 0 ? 0 : map.encode(values[k] / scale);
}

/** Codes as numbers: a store keeps f32, which holds them exactly. */
const savedBlocks = (name: string, { codes, scales }: BlockState): [string, Float32Array][] => [
  [`${name}/codes`, Float32Array.from(codes)],
  [`${name}/scales`, scales],
];

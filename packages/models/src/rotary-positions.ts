import type { RotaryTable } from '@q/core';
import type { ConfigReader } from './config-reader.js';
import { type RotaryFrequencies, rotaryKinds, rotatedFeatures } from './rotary-frequencies.js';

/** Rotary tables of one model, extended to the requested lengths. */
export interface RotaryPositions {
  /** Angular frequencies `[width/2]` of short sequences, radians a position. */
  readonly frequencies: Float32Array;
  /**
   * A table for a sequence of at least `length` positions; the same object until a longer one is requested, or one with
   * other frequencies (`dynamic`, `longrope`).
   */
  table(length: number): RotaryTable;
}

/** Values for settings that a config leaves out. */
export interface RotaryDefaults {
  /** Base of the frequencies, if the config does not say; 10000 when absent. */
  readonly theta?: number;
  /** Part of a head's features that is rotated, if the config does not say; all when absent. */
  readonly part?: number;
  /** Key of the layer's type below `rope_parameters`, if each type has its own parameters. */
  readonly section?: string;
  /** Old names of kinds: `su` for `longrope`. */
  readonly aliases?: ReadonlyMap<string, string>;
}

/** Larger heads are refused; no model has a head near this size. */
const mostHeadDim = 2 ** 16;

/**
 * Reads both forms of the config: `rope_theta` with `rope_scaling` (transformers 4), and `rope_parameters`
 * (transformers 5). An unknown kind is refused by name.
 * @throws FormatError when the size of a head is no even number
 */
export function readRotaryPositions(
  config: ConfigReader,
  headDim: number,
  defaults: RotaryDefaults = {},
): RotaryPositions {
  // Positions rotate pairs of values.
  if (!Number.isInteger(headDim / 2))
    config.refuseAsInvalid('head_dim', `rotary positions need an even size, not ${headDim}`);
  // Tables of this size are allocated in one piece: a config must not exhaust the memory.
  if (headDim > mostHeadDim)
    config.refuse('head_dim', `the size of a head is ${headDim}, at most ${mostHeadDim} is supported`);
  const { theta: absentTheta = 10000, part: absentPart = 1, section, aliases } = defaults;
  const key = config.has('rope_parameters') ? 'rope_parameters' : 'rope_scaling';
  const outer = config.object(key);
  const rope = section !== undefined && outer.has(section) ? outer.object(section) : outer;
  const typeKey = rope.has('rope_type') ? 'rope_type' : 'type';
  const named = rope.string(typeKey, 'default');
  const frequenciesOf =
    rotaryKinds.get(aliases?.get(named) ?? named) ??
    rope.refuse(typeKey, `known kinds are ${[...rotaryKinds.keys()].join(', ')}`);
  const theta = rope.has('rope_theta') ? rope.number('rope_theta') : config.number('rope_theta', absentTheta);
  const part = rope.has('partial_rotary_factor')
    ? rope.number('partial_rotary_factor')
    : config.number('partial_rotary_factor', absentPart);
  const width = rotatedFeatures(headDim, part);
  const maxPositions = config.positiveInteger('max_position_embeddings', 2048);
  // The outer key wins, as in transformers: Phi-3 has it there.
  const original = [config, rope].find((each) => each.has('original_max_position_embeddings'));
  const originalPositions = original?.positiveInteger('original_max_position_embeddings') ?? maxPositions;
  const frequencies = frequenciesOf(rope, { theta, width, maxPositions, originalPositions });
  return createRotaryPositions(frequencies, width);
}

function createRotaryPositions(frequencies: RotaryFrequencies, width: number): RotaryPositions {
  let longest: { readonly table: RotaryTable; readonly of: Float32Array } | undefined;
  return {
    frequencies: frequencies.of(1),
    table(length) {
      const of = frequencies.of(length);
      const same = longest?.of === of ? longest.table : undefined;
      if (same && same.positions >= length) return same;
      const table = buildTable(of, frequencies.factor, width, Math.max(length, 2 * (same?.positions ?? 0)));
      longest = { table, of };
      return table;
    },
  };
}

function buildTable(frequencies: Float32Array, factor: number, headDim: number, positions: number): RotaryTable {
  const half = headDim / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let j = 0; j < half; j++) {
      const angle = Math.fround(position * frequencies[j]!);
      cos[position * half + j] = Math.cos(angle) * factor;
      sin[position * half + j] = Math.sin(angle) * factor;
    }
  }
  return { cos, sin, positions, headDim };
}

import type { RotaryTable } from '@q/core';
import type { ConfigReader } from './config-reader.js';
import { type RotaryFrequencies, rotaryKinds, rotatedFeatures } from './rotary-frequencies.js';

/** Rotary tables of one model, grown to the lengths that are asked for. */
export interface RotaryPositions {
  /** Angular frequencies `[width/2]` of short sequences, radians a position. */
  readonly frequencies: Float32Array;
  /**
   * A table for a sequence of `length` positions, at least as long; the same object until a longer one is asked for, or one
   * with other frequencies (`dynamic`, `longrope`).
   */
  table(length: number): RotaryTable;
}

/** What a config leaves open. */
export interface RotaryDefaults {
  /** Base of the frequencies where the config does not say; 10000 when absent. */
  readonly theta?: number;
  /** Part of a head's features that is rotated where the config does not say; all when absent. */
  readonly part?: number;
  /** Key of the layer's type below `rope_parameters`, where each type has parameters of its own. */
  readonly section?: string;
  /** Old names of kinds: `su` for `longrope`. */
  readonly aliases?: ReadonlyMap<string, string>;
}

/** Values of a head that no model comes near. */
const mostHeadDim = 2 ** 16;

/**
 * Reads both forms of the config: `rope_theta` with `rope_scaling` (transformers 4), and `rope_parameters`
 * (transformers 5). A kind that is not known is refused by name.
 */
export function readRotaryPositions(
  config: ConfigReader,
  headDim: number,
  defaults: RotaryDefaults = {},
): RotaryPositions {
  // Tables of this size are made at once: a config must not ask for all memory.
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
  // The key outside wins, as in transformers: Phi-3 keeps it there.
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

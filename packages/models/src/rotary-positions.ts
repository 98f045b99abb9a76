import type { RotaryTable } from '@q/core';
import type { ConfigReader } from './config-reader.js';

/** Rotary tables of one model, grown to the lengths that are asked for. */
export interface RotaryPositions {
  /** Angular frequencies `[headDim/2]`, radians a position. */
  readonly frequencies: Float32Array;
  /** A table of at least `length` positions; the same object until a longer one is asked for. */
  table(length: number): RotaryTable;
}

/**
 * Reads both forms of the config: `rope_theta` with `rope_scaling` (transformers 4), and `rope_parameters`
 * (transformers 5). Scaling `linear` and `llama3`; others are refused by name.
 */
export function readRotaryPositions(config: ConfigReader, headDim: number, absentTheta = 10000): RotaryPositions {
  config.only('partial_rotary_factor', [1], 'only full rotary embeddings are supported');
  const key = config.has('rope_parameters') ? 'rope_parameters' : 'rope_scaling';
  const rope = config.object(key);
  const typeKey = rope.has('rope_type') ? 'rope_type' : 'type';
  const type = rope.string(typeKey, 'default');
  rope.only('partial_rotary_factor', [1], 'only full rotary embeddings are supported');
  const theta = rope.has('rope_theta') ? rope.number('rope_theta') : config.number('rope_theta', absentTheta);
  const base = baseFrequencies(theta, headDim);
  if (type === 'default') return createRotaryPositions(base, headDim);
  if (type === 'linear') {
    const factor = rope.number('factor');
    return createRotaryPositions(
      base.map((frequency) => frequency / factor),
      headDim,
    );
  }
  if (type === 'llama3') {
    return createRotaryPositions(
      scaleLlama3(base, {
        factor: rope.number('factor'),
        lowFrequencyFactor: rope.number('low_freq_factor'),
        highFrequencyFactor: rope.number('high_freq_factor'),
        originalPositions: rope.positiveInteger('original_max_position_embeddings'),
      }),
      headDim,
    );
  }
  return rope.refuse(typeKey, 'supported are default, linear and llama3');
}

/** `theta^(-2j/headDim)`, rounded to f32 at the steps at which transformers rounds. */
function baseFrequencies(theta: number, headDim: number): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, j) => 1 / Math.fround(theta ** Math.fround((2 * j) / headDim)));
}

interface Llama3Scaling {
  readonly factor: number;
  readonly lowFrequencyFactor: number;
  readonly highFrequencyFactor: number;
  readonly originalPositions: number;
}

/**
 * Llama 3.1: wavelengths beyond `originalPositions / lowFrequencyFactor` are stretched by `factor`, those below
 * `originalPositions / highFrequencyFactor` stay, between them the two are blended.
 */
function scaleLlama3(frequencies: Float32Array, scaling: Llama3Scaling): Float32Array {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = scaling;
  return frequencies.map((frequency) => {
    const turns = (originalPositions * frequency) / (2 * Math.PI);
    const blend = Math.min(Math.max((turns - low) / (high - low), 0), 1);
    return ((1 - blend) * frequency) / factor + blend * frequency;
  });
}

function createRotaryPositions(frequencies: Float32Array, headDim: number): RotaryPositions {
  let longest: RotaryTable | undefined;
  return {
    frequencies,
    table(length) {
      if (!longest || longest.positions < length) {
        longest = buildTable(frequencies, headDim, Math.max(length, 2 * (longest?.positions ?? 0)));
      }
      return longest;
    },
  };
}

function buildTable(frequencies: Float32Array, headDim: number, positions: number): RotaryTable {
  const half = headDim / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let j = 0; j < half; j++) {
      const angle = Math.fround(position * frequencies[j]!);
      cos[position * half + j] = Math.cos(angle);
      sin[position * half + j] = Math.sin(angle);
    }
  }
  return { cos, sin, positions, headDim };
}

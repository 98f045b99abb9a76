import { SchemeError } from '@q/core';
import type { ConfigReader } from './config-reader.js';

/** Angular frequencies of rotary embeddings, and the factor of their cosines and sines. */
export interface RotaryFrequencies {
  /**
   * Radians a position, one for each pair of features, for a sequence of `length` positions. The same object for
   * lengths with the same frequencies.
   */
  of(length: number): Float32Array;
  readonly factor: number;
}

/** The settings that every kind reads. */
interface RotaryShape {
  readonly theta: number;
  /** Features of a head that are rotated. */
  readonly width: number;
  /** `max_position_embeddings` */
  readonly maxPositions: number;
  /** `original_max_position_embeddings`, or its replacement. */
  readonly originalPositions: number;
}

type Kind = (rope: ConfigReader, shape: RotaryShape) => RotaryFrequencies;

const fixed = (frequencies: Float32Array, factor = 1): RotaryFrequencies => ({ of: () => frequencies, factor });

/** Kinds of rotary embeddings by their names in transformers (`rope_type`). */
export const rotaryKinds: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['default', (_rope, shape) => fixed(baseFrequencies(shape))],
  [
    'linear',
    (rope, shape) => {
      const factor = rope.number('factor');
      return fixed(baseFrequencies(shape).map((frequency) => frequency / factor));
    },
  ],
  ['dynamic', dynamic],
  ['yarn', yarn],
  ['longrope', longRope],
  ['llama3', (rope, shape) => fixed(scaleLlama3(rope, shape))],
]);

/** `theta^(2j/width)`, rounded to f32 at the same steps as in transformers. */
function periods({ theta, width }: RotaryShape): Float32Array {
  return Float32Array.from({ length: width / 2 }, (_, j) => theta ** Math.fround((2 * j) / width));
}

function baseFrequencies(shape: RotaryShape): Float32Array {
  return periods(shape).map((period) => 1 / period);
}

/**
 * NTK scaling: beyond the trained positions the base grows with the length, so the lowest frequency covers the whole
 * length.
 */
function dynamic(rope: ConfigReader, shape: RotaryShape): RotaryFrequencies {
  const factor = rope.number('factor');
  const { theta, width, maxPositions } = shape;
  if (width < 4) rope.refuse('factor', 'dynamic scaling needs at least 4 rotated features');
  const trained = baseFrequencies(shape);
  let last = { length: maxPositions, frequencies: trained };
  return {
    of(length) {
      if (length <= maxPositions) return trained;
      if (length !== last.length) {
        const growth = (factor * length) / maxPositions - (factor - 1);
        const grown = { ...shape, theta: theta * growth ** (width / (width - 2)) };
        last = { length, frequencies: baseFrequencies(grown) };
      }
      return last.frequencies;
    },
    factor: 1,
  };
}

/**
 * YaRN (Peng et al., arXiv 2309.00071): features that turn more than `beta_fast` times over the trained positions keep
 * their frequency, those below `beta_slow` turns are divided by `factor`, and between these limits the two are blended.
 * Cosines and sines grow with the logarithm of `factor`.
 */
function yarn(rope: ConfigReader, shape: RotaryShape): RotaryFrequencies {
  const { theta, width, originalPositions, maxPositions } = shape;
  const factor = rope.has('factor') ? rope.number('factor') : maxPositions / originalPositions;
  const featureOf = (turns: number) =>
    (width * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = featureOf(rope.number('beta_fast', 32) || 32);
  let high = featureOf(rope.number('beta_slow', 1) || 1);
  if (rope.boolean('truncate', true)) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, width - 1);
  // Two equal limits would divide by zero.
  if (low === high) high += 0.001;
  const frequencies = periods(shape).map((period, j) => {
    const kept = 1 - Math.min(Math.max((j - low) / (high - low), 0), 1);
    return (1 / (factor * period)) * (1 - kept) + (1 / period) * kept;
  });
  return fixed(frequencies, yarnFactor(rope, factor));
}

function yarnFactor(rope: ConfigReader, factor: number): number {
  if (rope.has('attention_factor')) return rope.number('attention_factor');
  const magnitude = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const [scale, ofAll] = [rope.number('mscale', 0), rope.number('mscale_all_dim', 0)];
  return scale !== 0 && ofAll !== 0 ? magnitude(scale) / magnitude(ofAll) : magnitude(1);
}

/**
 * LongRoPE (Ding et al., arXiv 2402.13753): each frequency is divided by a number of the config, and by another number
 * if the sequence is longer than the trained positions.
 */
function longRope(rope: ConfigReader, shape: RotaryShape): RotaryFrequencies {
  const { width, originalPositions, maxPositions } = shape;
  const divided = (key: string) => {
    const divisors = rope.numbers(key);
    if (divisors?.length !== width / 2) rope.refuse(key, `${width / 2} numbers are needed, one for each frequency`);
    return periods(shape).map((period, j) => 1 / (Math.fround(divisors[j]!) * period));
  };
  const [short, long] = [divided('short_factor'), divided('long_factor')];
  const growth = rope.has('factor') ? rope.number('factor') : maxPositions / originalPositions;
  const grown = growth <= 1 ? 1 : Math.sqrt(1 + Math.log(growth) / Math.log(originalPositions));
  return {
    of: (length) => (length > originalPositions ? long : short),
    factor: rope.has('attention_factor') ? rope.number('attention_factor') : grown,
  };
}

/**
 * Llama 3.1: wavelengths beyond `originalPositions / low_freq_factor` are divided by `factor`, those below
 * `originalPositions / high_freq_factor` stay, and between these limits the two are blended.
 */
function scaleLlama3(rope: ConfigReader, shape: RotaryShape): Float32Array {
  const [factor, low, high] = ['factor', 'low_freq_factor', 'high_freq_factor'].map((key) => rope.number(key)) as [
    number,
    number,
    number,
  ];
  const originalPositions = rope.positiveInteger('original_max_position_embeddings');
  return baseFrequencies(shape).map((frequency) => {
    const turns = (originalPositions * frequency) / (2 * Math.PI);
    const blend = Math.min(Math.max((turns - low) / (high - low), 0), 1);
    return ((1 - blend) * frequency) / factor + blend * frequency;
  });
}

/** @throws SchemeError when the number of rotated features is not even */
export function rotatedFeatures(headDim: number, part: number): number {
  const width = Math.trunc(headDim * part);
  if (width < 2 || width % 2 !== 0 || width > headDim)
    throw new SchemeError(
      `config.json: partial_rotary_factor ${part} of ${headDim} features a head are ${width}: an even number of them, at least 2, is needed`,
    );
  return width;
}

import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { fusedGatedMlp } from './feed-forward.js';
import { describeLlamaLike } from './llama-like.js';

/**
 * Phi-3 and Phi-4-mini: queries, keys and values in one linear, gate and up in one, LongRoPE, a part of each head
 * rotated.
 */
export const phi3: Architecture = {
  name: 'phi3',
  modelTypes: ['phi3'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const window = config.has('sliding_window') ? config.positiveInteger('sliding_window') : undefined;
    return describeLlamaLike(config, {
      architecture: 'phi3',
      tensorNames,
      names: { input: ['qkv_proj'] },
      queryKeyValueBias: false,
      outputBias: false,
      mlpBias: false,
      defaultEpsilon: 1e-5,
      rotary: sharedRotary(config, longRopeNames),
      window: () => window,
      feedForward: (_layer, sizes) =>
        fusedGatedMlp(sizes.prefix, { ...sizes, intermediate: config.positiveInteger('intermediate_size') }),
    });
  },
};

/** The name of LongRoPE in published configs. */
const longRopeNames: ReadonlyMap<string, string> = new Map([
  ['su', 'longrope'],
  ['yarn', 'longrope'],
]);

/** One table for all layers. */
function sharedRotary(config: ConfigReader, aliases: ReadonlyMap<string, string>) {
  let shared: ReturnType<typeof readRotaryPositions> | undefined;
  return (_layer: number, headDim: number) => (shared ??= readRotaryPositions(config, headDim, { aliases }));
}

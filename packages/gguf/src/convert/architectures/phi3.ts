import { ropeSettings } from '../config.js';
import type { GgufArchitecture, ModelTensor } from '../conversion.js';
import { f32, u32 } from '../values.js';
import { decoderKeys, decoderRules, decoderTensors, headSizeOf } from './decoder.js';
import { ropeSettingsShare } from './partial-rotary.js';

/** Phi-3 and Phi-4-mini: queries, keys and values in one matrix, gate and up in another; the runtime cuts them. */
export const phi3Gguf: GgufArchitecture = {
  name: 'phi3',
  modelTypes: ['phi3'],
  hyperparameters(config) {
    const { share } = ropeSettingsShare(config, 'partial_rotary_factor', 1);
    const { type, scaling } = ropeSettings(config);
    const context = config.number('max_position_embeddings');
    const original = scaling.number(
      'original_max_position_embeddings',
      config.number('original_max_position_embeddings', context),
    );
    const keys = decoderKeys(config, undefined, () => []);
    keys.set('rope.dimension_count', u32(Math.floor(share * headSizeOf(config))));
    keys.set('rope.scaling.original_context_length', u32(original));
    // 0 tells Phi-4 from the others, which have a window.
    keys.set('attention.sliding_window', u32(config.number('sliding_window', 0)));
    if (type === 'longrope' || type === 'su') {
      const scale = context / original;
      const factor = scale <= 1 ? 1 : Math.sqrt(1 + Math.log(scale) / Math.log(original));
      keys.set('rope.scaling.attn_factor', f32(scaling.number('attention_factor', factor)));
    } else if (type !== 'default') scaling.refuse('rope_type', 'longrope can be written for Phi-3');
    return keys;
  },
  tensors(config, source) {
    const { scaling } = ropeSettings(config);
    const factors = (['long', 'short'] as const).flatMap((kind): ModelTensor[] => {
      const values = scaling.numbers(`${kind}_factor`);
      if (!values) return [];
      const name = `rope_factors_${kind}.weight`;
      return [{ name, shape: [values.length], from: [], values: Float32Array.from(values) }];
    });
    const named = decoderTensors(config, source, {
      rules: {
        ...decoderRules,
        'layers.N.self_attn.qkv_proj': 'blk.N.attn_qkv',
        'layers.N.mlp.gate_up_proj': 'blk.N.ffn_up',
      },
    });
    return [...named, ...factors];
  },
};

import { ropeSettings } from '../config.js';
import type { GgufArchitecture, ModelTensor } from '../conversion.js';
import type { FileSettings } from '../file-settings.js';
import { f32, u32 } from '../values.js';
import { decoderConfig, decoderKeys, decoderRules, decoderTensors, headSizeOf } from './decoder.js';
import { ropeSettingsShare } from './partial-rotary.js';

/** Phi-3 and Phi-4-mini: queries, keys and values in one matrix, gate and up in another; the runtime splits them. */
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
    // 0 distinguishes Phi-4 from the others, which have a window.
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
  config(file) {
    const whole = decoderConfig(file, 'phi3', () => ({}));
    const [long, short] = ['long', 'short'].map((kind) => file.vector(`rope_factors_${kind}.weight`));
    const original = file.number('rope.scaling.original_context_length', file.number('context_length'));
    const window = file.number('attention.sliding_window', 0);
    return {
      ...whole,
      rope_theta: file.number('rope.freq_base', 10000),
      original_max_position_embeddings: original,
      partial_rotary_factor: file.number('rope.dimension_count', whole.head_dim as number) / (whole.head_dim as number),
      ...(window > 0 ? { sliding_window: window } : {}),
      ...(long && short ? { rope_scaling: longRope(file, long, short) } : {}),
    };
  },
};

const longRope = (file: FileSettings, long: Float32Array, short: Float32Array) => ({
  ...{ type: 'longrope', long_factor: [...long], short_factor: [...short] },
  ...(file.has('rope.scaling.attn_factor') ? { attention_factor: file.number('rope.scaling.attn_factor') } : {}),
});

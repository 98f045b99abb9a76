import { architectureConformance } from '@q/conformance';
import { describe, it } from 'vitest';
import { architectures } from './index.js';

describe('llama', () => {
  const config = {
    ...{ model_type: 'llama', hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ intermediate_size: 64, max_position_embeddings: 64, rms_norm_eps: 1e-5, vocab_size: 48 },
  };
  const llama = architectures.find(({ modelTypes }) => modelTypes.includes('llama'));
  if (!llama) throw new Error('there is no llama');
  for (const { name, run } of architectureConformance(config)) it(name, () => run(llama));
});

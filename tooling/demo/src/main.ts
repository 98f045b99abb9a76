/**
 * Trains the embedded demo model: `pnpm --filter @q/demo train [steps] [folder]`. All its parts are made here: the text
 * by `corpus.ts`, the tokenizer by `byte-pair-encoding.ts`, the weights by this engine. A seed gives the same model on
 * the same backend.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRandom, fromF32 } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { describeModel, loadTokenizer } from '@q/models';
import { createShardWriter, planShards } from '@q/safetensors';
import { createEngine } from '@q/tfjs';
import { trainTokenizer } from './byte-pair-encoding.js';
import { corpus } from './corpus.js';
import { asTensors, initialize, train } from './train.js';

const steps = Number(process.argv[2] ?? 1000);
const folder = process.argv[3] ?? fileURLToPath(new URL('../../../packages/cli/demo', import.meta.url));
const special = '<|endoftext|>';
const seed = createRandom('embedded model');

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 768,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: 'silu',
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_parameters: { rope_theta: 10000, rope_type: 'default' },
  attention_bias: false,
  mlp_bias: false,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  use_cache: true,
  bos_token_id: 0,
  eos_token_id: 0,
  pad_token_id: null,
  dtype: 'bfloat16',
};

const text = corpus(seed.fork('training text'), 24000);
const tokenizerFile = trainTokenizer(text.slice(0, 600000).replaceAll(special, ''), config.vocab_size, special);
const tokenizerConfig = {
  bos_token: special,
  eos_token: special,
  tokenizer_class: 'PreTrainedTokenizerFast',
  model_max_length: 256,
};
const tokenizer = loadTokenizer({ tokenizer: tokenizerFile, config: tokenizerConfig, model: config });
const ids: number[] = [];
for (const document of text.split(special)) if (document.trim()) ids.push(0, ...tokenizer.encode(document.trim()));
console.log(`${text.length} characters, ${ids.length} tokens`);

const model = describeModel(config);
const parameters = initialize(model, seed.fork('weights'));
const kernels = await createWasmKernels();
const engine = await createEngine({ kernels });
console.log(`${[...parameters.values()].reduce((sum, values) => sum + values.length, 0)} parameters on ${engine.name}`);
let smoothed = Number.NaN;
const windows = { stream: Int32Array.from(ids), random: seed.fork('windows') };
await train(engine, model, parameters, windows, {
  steps,
  batch: 16,
  length: 128,
  rate: 3e-3,
  warmUp: 50,
  clip: 1,
  report(step, loss, rate) {
    smoothed = Number.isNaN(smoothed) ? loss : 0.95 * smoothed + 0.05 * loss;
    if (step % 25 === 0 || step === steps - 1)
      console.log(`step ${step}: loss ${smoothed.toFixed(4)}, ${rate.toFixed(0)} tokens/s`);
  },
});

await mkdir(join(folder, 'model'), { recursive: true });
await mkdir(join(folder, 'text'), { recursive: true });
const tensors = asTensors(model, parameters);
const plan = planShards([...tensors].map(([name, { shape }]) => ({ name, dtype: 'BF16', shape })));
const writer = await createShardWriter(join(folder, 'model'), plan);
for (const [name, { shape, data }] of tensors) await writer.write(name, fromF32('bf16', shape, data));
await writer.finish();
const json = (name: string, value: unknown) =>
  writeFile(join(folder, 'model', name), `${JSON.stringify(value, null, 1)}\n`);
await json('config.json', config);
await json('tokenizer.json', tokenizerFile);
await json('tokenizer_config.json', tokenizerConfig);
await json('generation_config.json', { bos_token_id: 0, eos_token_id: 0 });
await writeFile(join(folder, 'text', 'calibration.txt'), corpus(seed.fork('calibration text'), 260));
await writeFile(join(folder, 'text', 'held-out.txt'), corpus(seed.fork('held-out text'), 140));
await engine.dispose();
await kernels.dispose();

/** `pnpm convert:llama2c MODEL.bin TOKENIZER.bin FOLDER` writes a llama2.c checkpoint as a Hugging Face folder. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createShardWriter, planShards } from '@q/safetensors';
import { readLlama2c } from './llama2c-container.js';
import { readLlama2cTokenizer, toTokenizerJson } from './llama2c-tokenizer.js';

export async function convertLlama2c(modelFile: string, tokenizerFile: string, folder: string): Promise<void> {
  const { config, tensors } = readLlama2c(await readFile(modelFile));
  const tokenizer = toTokenizerJson(readLlama2cTokenizer(await readFile(tokenizerFile), config.vocabulary));
  await mkdir(folder, { recursive: true });
  const write = (name: string, json: object) => writeFile(join(folder, name), `${JSON.stringify(json, null, 2)}\n`);
  const planned = [...tensors].map(([name, { shape }]) => ({ name, dtype: 'F32' as const, shape }));
  const writer = await createShardWriter(folder, planShards(planned));
  for (const [name, values] of tensors) await writer.write(name, values);
  await writer.finish();
  await write('config.json', {
    architectures: ['LlamaForCausalLM'],
    attention_bias: false,
    bos_token_id: 1,
    dtype: 'float32',
    eos_token_id: 2,
    head_dim: config.dim / config.heads,
    hidden_act: 'silu',
    hidden_size: config.dim,
    intermediate_size: config.hidden,
    max_position_embeddings: config.positions,
    mlp_bias: false,
    model_type: 'llama',
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    // llama2.c has no field for these two values: both are constants of its source.
    rms_norm_eps: 1e-5,
    rope_parameters: { rope_theta: 10000, rope_type: 'default' },
    tie_word_embeddings: config.tied,
    vocab_size: config.vocabulary,
  });
  await write('tokenizer.json', tokenizer);
  await write('tokenizer_config.json', {
    add_bos_token: true,
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    tokenizer_class: 'PreTrainedTokenizerFast',
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [modelFile, tokenizerFile, folder] = process.argv.slice(2);
  if (!modelFile || !tokenizerFile || !folder) {
    console.error('usage: pnpm convert:llama2c MODEL.bin TOKENIZER.bin FOLDER');
    process.exit(1);
  }
  await convertLlama2c(modelFile, tokenizerFile, folder);
  console.log(folder);
}

export { bert, roberta, xlmRoberta } from './architectures/bert.js';
export { distilbert } from './architectures/distilbert.js';
export { gemma } from './architectures/gemma.js';
export { gemma2 } from './architectures/gemma2.js';
export { gemma3 } from './architectures/gemma3.js';
export { gptNeox } from './architectures/gpt-neox.js';
export { gpt2 } from './architectures/gpt2.js';
export { granite } from './architectures/granite.js';
export { llama } from './architectures/llama.js';
export { mistral } from './architectures/mistral.js';
export { mixtral } from './architectures/mixtral.js';
export { modernbert } from './architectures/modernbert.js';
export { mpnet } from './architectures/mpnet.js';
export { olmo2 } from './architectures/olmo2.js';

export { opt } from './architectures/opt.js';
export { phi3 } from './architectures/phi3.js';
export { qwen2 } from './architectures/qwen2.js';
export { qwen2Moe } from './architectures/qwen2-moe.js';
export { qwen3 } from './architectures/qwen3.js';
export { qwen3Moe } from './architectures/qwen3-moe.js';
export { smollm3 } from './architectures/smollm3.js';
export { stablelm } from './architectures/stablelm.js';
export { ConfigReader } from './config-reader.js';
export { type BlockCache, createDecoder, type Decoder, type DecoderOptions } from './decode.js';
export { architectures, describeModel, stacksOf } from './describe-model.js';
export { conventionalHead, type GuessedMatrices, guessLinears } from './guess-linears.js';
export { loadWeights } from './load-weights.js';
export { encode, forward, greedy, runBlock } from './run.js';
export { createRuntime, type RuntimeOptions, wrapRuntime } from './runtime.js';
export {
  meanOfTokens,
  type PoolingMode,
  poolingModes,
  type SentenceModule,
  type SentenceModules,
  sentenceVectors,
} from './sentence-embedding.js';
export { loadTokenizer, type Tokenizer, type TokenizerFiles } from './tokenizer.js';

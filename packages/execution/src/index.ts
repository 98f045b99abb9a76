export { cachedLogits } from './cached-logits.js';
export { type ChatMessage, chatPrompt, findChatTemplate, type TokenizerConfig } from './chat-prompt.js';
export { type GenerateOptions, generate } from './generate.js';
export { type LoadedModel, loadModel, type WeightSource } from './load-model.js';
export { packedParts } from './packed-parts.js';
export { createSampler, mostLikely, type Sampler, type SamplingOptions } from './sampler.js';
export { stopTokens } from './stop-tokens.js';
export { createTextStream, type TextStream } from './text-stream.js';

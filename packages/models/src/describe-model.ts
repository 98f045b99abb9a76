import { type Architecture, type ModelDescription, SchemeError, type TensorStacks } from '@q/core';
import { bert, roberta, xlmRoberta } from './architectures/bert.js';
import { distilbert } from './architectures/distilbert.js';
import { gemma } from './architectures/gemma.js';
import { gemma2 } from './architectures/gemma2.js';
import { gemma3 } from './architectures/gemma3.js';
import { gptNeox } from './architectures/gpt-neox.js';
import { gptOss } from './architectures/gpt-oss.js';
import { gpt2 } from './architectures/gpt2.js';
import { granite } from './architectures/granite.js';
import { llama } from './architectures/llama.js';
import { mistral } from './architectures/mistral.js';
import { mixtral } from './architectures/mixtral.js';
import { modernbert } from './architectures/modernbert.js';
import { mpnet } from './architectures/mpnet.js';
import { olmo2 } from './architectures/olmo2.js';
import { opt } from './architectures/opt.js';
import { phi3 } from './architectures/phi3.js';
import { qwen2 } from './architectures/qwen2.js';
import { qwen2Moe } from './architectures/qwen2-moe.js';
import { qwen3 } from './architectures/qwen3.js';
import { qwen3Moe } from './architectures/qwen3-moe.js';
import { smollm3 } from './architectures/smollm3.js';
import { stablelm } from './architectures/stablelm.js';

/** The architectures of this package. */
export const architectures: readonly Architecture[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  mixtral,
  qwen2Moe,
  qwen3Moe,
  gptOss,
  gemma,
  gemma2,
  gemma3,
  phi3,
  smollm3,
  olmo2,
  granite,
  gptNeox,
  stablelm,
  gpt2,
  opt,
  bert,
  distilbert,
  roberta,
  xlmRoberta,
  mpnet,
  modernbert,
];

/**
 * Describes the model of a `config.json` by the first of `known` that has its `model_type`.
 * @param tensorNames names in the checkpoint, if known; see {@link Architecture.describe}
 * @throws SchemeError for an unknown `model_type`, or naming the key that is missing or not supported
 * @throws FormatError naming a key whose value no program can run
 */
export function describeModel(
  config: Readonly<Record<string, unknown>>,
  known: readonly Architecture[] = architectures,
  tensorNames?: ReadonlySet<string>,
): ModelDescription {
  const type = config['model_type'];
  const architecture = architectureOf(config, known);
  if (!architecture) {
    const types = known.flatMap(({ modelTypes }) => modelTypes).join(', ');
    const found =
      type === undefined ? 'config.json has no "model_type"' : `model_type ${JSON.stringify(type)} is unknown`;
    throw new SchemeError(
      `${found}: known are ${types}. Methods that need no data (rtn) still work on it: they never run the model`,
    );
  }
  return architecture.describe(config, tensorNames);
}

/**
 * How the files of such a model store several tensors in one; undefined if they do not, or if no architecture of
 * `known` matches the model.
 */
export function stacksOf(
  config: Readonly<Record<string, unknown>>,
  known: readonly Architecture[] = architectures,
): TensorStacks | undefined {
  return architectureOf(config, known)?.stacks?.(config);
}

function architectureOf(
  config: Readonly<Record<string, unknown>>,
  known: readonly Architecture[],
): Architecture | undefined {
  const type = config['model_type'];
  return known.find(({ modelTypes }) => typeof type === 'string' && modelTypes.includes(type));
}

import type { Architecture, LinearDescription, Runtime, TensorStacks } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { readLayerWindows } from './layer-windows.js';
import { linear } from './linear-description.js';
import { describeLlamaLike } from './llama-like.js';
import { type Expert, type ExpertSizes, mixtureOfExperts } from './mixture-of-experts.js';

/** Factor in the sigmoid of the gate: `gate * sigmoid(1.702 * gate)`. It is not in the config. */
const gateFactor = 1.702;

/** Names of an expert's tensors, with the suffix of the linear's name in files that store all experts in one tensor. */
const suffixes: Readonly<Record<string, string>> = { weight: '', bias: '_bias', blocks: '_blocks', scales: '_scales' };

/**
 * gpt-oss: attention with sinks and biases, a sliding window in every other layer, and experts in tensors of three
 * dimensions, `[experts, in, out]`, or rounded to MXFP4 `[experts, out, in / 32, 16]`. Gates are the even rows of
 * `gate_up_proj`.
 */
export const gptOss: Architecture = {
  name: 'gpt_oss',
  modelTypes: ['gpt_oss'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    config.only('hidden_act', ['silu'], 'experts of gpt_oss have a gate of their own, which is named silu');
    const experts = config.positiveInteger('num_local_experts', 128);
    const perToken = config.positiveInteger('num_experts_per_tok', 4);
    if (perToken > experts) config.refuse('num_experts_per_tok', `there are ${experts} experts`);
    const bias = config.boolean('attention_bias', true);
    const limit = config.number('swiglu_limit', 7);
    const size = config.has('sliding_window') ? config.positiveInteger('sliding_window') : undefined;
    let shared: ReturnType<typeof readRotaryPositions> | undefined;
    return describeLlamaLike(config, {
      architecture: 'gpt_oss',
      tensorNames,
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: false,
      defaultKeyValueHeads: 8,
      defaultHeadDim: 64,
      defaultEpsilon: 1e-5,
      sinks: 'sinks',
      rotary(_layer, headDim) {
        shared ??= readRotaryPositions(config, headDim, { theta: 150000 });
        return shared;
      },
      window: readLayerWindows(config, size, (layer) => layer % 2 === 0).window,
      feedForward: (_layer, { prefix, hidden, activation }) =>
        mixtureOfExperts({
          prefix,
          hidden,
          intermediate: config.positiveInteger('intermediate_size', 2880),
          activation,
          experts,
          perToken,
          normalize: true,
          names: { gate: 'gate_up_proj', up: 'gate_up_proj', down: 'down_proj' },
          expert: (name, sizes) => clampedExpert(name, sizes, limit),
          router: { name: 'router', bias: true },
        }),
    });
  },
  stacks: () => expertStacks,
};

const expertStacks: TensorStacks = {
  split(name, [experts = 0, ...rest]) {
    const found = /^(.*\.experts)\.(gate_up_proj|down_proj)(|_bias|_blocks|_scales)$/.exec(name);
    if (!found || rest.length === 0) return undefined;
    const [, prefix, module, suffix] = found;
    const part = Object.keys(suffixes).find((each) => suffixes[each] === suffix);
    return Array.from({ length: experts }, (_, index) => [`${prefix}.${index}.${module}.${part}`]);
  },
  join(name) {
    const found = /^(.*\.experts)\.(\d+)\.(gate_up_proj|down_proj)\.(weight|bias|blocks|scales)$/.exec(name);
    if (!found) return undefined;
    const [, prefix, index, module, part] = found;
    return { stack: `${prefix}.${module}${suffixes[part as string]}`, index: Number(index) };
  },
};

/** A linear that the file stores `[in, out]`, together with those of the other experts. */
const stacked = (description: LinearDescription): LinearDescription => ({
  ...description,
  transposed: true,
  stacked: true,
});

/** `down((up + 1) * gate * sigmoid(1.702 * gate))`, with the gate at most `limit` and up within +-`limit`. */
function clampedExpert(name: string, { hidden, intermediate }: ExpertSizes, limit: number): Expert {
  const [gateUp, down] = [`${name}.gate_up_proj`, `${name}.down_proj`];
  return {
    linears: [
      stacked(linear(gateUp, hidden, 2 * intermediate, true, 'gate', 'up')),
      stacked(linear(down, intermediate, hidden, true, 'down')),
    ],
    readers: [gateUp],
    down,
    // A factor of up cannot be folded: up is clamped, and 1 is added to it.
    edges: [],
    inner<T>(runtime: Runtime<T>, x: T): T {
      const { ops } = runtime;
      const both = runtime.linear(gateUp, x);
      const rows = ops.shape(both)[0] as number;
      const [even, odd] = ops.split(ops.reshape(both, [rows, intermediate, 2]), [1, 1]) as [T, T];
      const gate = ops.clip(ops.reshape(even, [rows, intermediate]), Number.NEGATIVE_INFINITY, limit);
      const up = ops.clip(ops.reshape(odd, [rows, intermediate]), -limit, limit);
      const glu = ops.mul(gate, ops.activation('sigmoid', ops.scale(gate, gateFactor)));
      return ops.add(ops.mul(up, glu), glu);
    },
  };
}

import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createRandom, type Engine, type Kernels, quantize, scheme, type Tensor, tensor, uint2 } from '@q/core';
import { createTrainingEngine, createWasmKernels } from '@q/kernels-wasm';
import { createRuntime, describeModel } from '@q/models';
import { adamW, clipGradients, gradientNorm, learnedStep, modelObjective, selfTeacher } from '@q/qat';
import { createEngine } from '@q/tfjs';
import type { Benchmark } from '../benchmark.js';
import { findPeers } from '../peer-process.js';

/** A Llama, and the windows of a step. */
interface Shape {
  readonly title: string;
  readonly config: { readonly vocab_size: number } & Record<string, unknown>;
  readonly batch: number;
}

/** llama-5m of the shared models. */
const small: Shape = {
  title: '5 M parameters, 8 x 256 tokens',
  batch: 8,
  config: {
    hidden_size: 256,
    intermediate_size: 688,
    num_hidden_layers: 4,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    vocab_size: 4096,
    max_position_embeddings: 256,
    tie_word_embeddings: false,
  },
};

/** SmolLM2-135M. Two windows: the states and logits of eight would need more than the 4 GB of a WebAssembly memory. */
const real: Shape = {
  title: '135 M parameters, 2 x 256 tokens',
  batch: 2,
  config: {
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 256,
    tie_word_embeddings: true,
  },
};

const length = 256;
const target = scheme({ format: uint2, zeroPoint: 'integer' });

/** Steps of QAFT on an engine: weights, scales and zero points of all linears, KL to the unquantized model. */
export async function trainingSteps<T>(
  engine: Engine<T>,
  kernels: Kernels,
  { config, batch }: Shape,
): Promise<() => Promise<number>> {
  const model = describeModel({ model_type: 'llama', ...config });
  const { ops } = engine;
  const random = createRandom('training step');
  const weights = new Map<string, Tensor<'f32'>>();
  for (const [name, shape] of model.expected) {
    const size = shape.reduce((product, n) => product * n, 1);
    const values = Float32Array.from({ length: size }, () => (shape.length === 1 ? 1 : 0.02 * random.normal()));
    weights.set(name, tensor('f32', shape, values));
  }
  const ids = Int32Array.from({ length: batch * length }, (_, i) => (i * 7919) % config.vocab_size);
  const windows = { ids, count: batch, length };
  const frozen = new Map([...weights].map(([name, each]) => [name, ops.keep(ops.fromTensor(each))]));
  const teacher = await selfTeacher(model, createRuntime(ops, frozen, { ties: model.ties }), windows, batch);
  const tensors = new Map(
    model.blocks
      .flatMap(({ linears }) => linears.map(({ module }) => `${module}.weight`))
      .map((name) => {
        const weight = weights.get(name) as Tensor<'f32'>;
        return [name, learnedStep(weight, target, quantize(weight, target), { kernels })] as const;
      }),
  );
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  const loss = { labels: 0, teacher: 1 };
  const objective = modelObjective({ ops, model, frozen, shapes, windows, loss, teacher });
  const optimizer = adamW();
  const all = Int32Array.from({ length: batch }, (_, i) => i);
  const parameters = new Map(
    [...tensors].flatMap(([name, each]) =>
      Object.entries(each.parameters).map(([role, values]) => [`${name}#${role}`, values] as const),
    ),
  );
  let steps = 0;
  return async () => {
    const values = new Map([...tensors].map(([name, each]) => [name, each.value()]));
    const result = await objective.evaluate(values, all, steps++);
    const gradients = new Map<string, Float32Array>();
    for (const [name, each] of tensors) {
      const own = each.backward(result.derivatives.get(name) as Float32Array);
      for (const [role, gradient] of Object.entries(own)) gradients.set(`${name}#${role}`, gradient);
    }
    clipGradients(gradients, gradientNorm(gradients), 1);
    optimizer.step(parameters, gradients, () => 1e-6);
    return result.loss;
  };
}

/**
 * The same step in a Python process of the peers, or of the Python that `Q_PYTHON` names, which needs PyTorch and
 * transformers.
 */
async function torchSteps({ config, batch }: Shape): Promise<{ step(): Promise<string>; stop(): void } | undefined> {
  const python = process.env.Q_PYTHON ?? (await findPeers());
  if (python === undefined) {
    console.log(
      '  PyTorch is absent: `pnpm bench peers` sets it up, or name a Python that has it and transformers with Q_PYTHON',
    );
    return undefined;
  }
  const script = fileURLToPath(new URL('../../reference/training_step.py', import.meta.url));
  const shape = JSON.stringify({ config, batch, length, threads: availableParallelism() });
  const child = spawn(python, [script, shape], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async step() {
      child.stdin.write('\n');
      return (await lines.next()).value as string;
    },
    stop: () => child.stdin.end(),
  };
}

export const benchmark: Benchmark = {
  description: `a step of QAFT (2 bits, KL to the teacher, AdamW) on Llamas of 5 M and of 135 M parameters`,
  async *comparisons() {
    const kernels = await createWasmKernels();
    const own = await createTrainingEngine();
    const wasm = await createEngine({ backend: 'wasm', kernels });
    const native = await createEngine({ backend: 'node' }).catch((error: Error) => {
      console.log(`  tfjs-node is absent: ${error.message}`);
      return undefined;
    });
    for (const shape of [small, real]) {
      const torch = await torchSteps(shape);
      yield {
        title: `training step, ${shape.title}`,
        work: shape.batch * length,
        unit: 'tokens',
        rounds: 5,
        contenders: [
          ...(shape === small ? [{ name: 'tfjs-wasm', run: await trainingSteps(wasm, kernels, shape) }] : []),
          { name: `own, ${own.name}`, run: await trainingSteps(own, kernels, shape) },
          ...(native ? [{ name: 'tfjs-node', run: await trainingSteps(native, kernels, shape) }] : []),
          ...(torch ? [{ name: 'PyTorch', run: torch.step, peer: true }] : []),
        ],
      };
      torch?.stop();
    }
    await own.dispose();
    await wasm.dispose();
    await native?.dispose();
    await kernels.dispose();
  },
};

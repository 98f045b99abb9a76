import { type Engine, languageModel, type ModelDescription, type Random, type Tensor, tensor } from '@q/core';
import { createRuntime } from '@q/models';
import { adamW, clipGradients, cosine, gradientNorm } from '@q/qat';

export interface TrainingSettings {
  readonly steps: number;
  readonly batch: number;
  readonly length: number;
  readonly rate: number;
  readonly warmUp: number;
  /** Largest norm of all gradients together. */
  readonly clip: number;
  /** Wall seconds after which the schedule is cut short, for experiments. */
  readonly report: (step: number, loss: number, tokensPerSecond: number) => void;
}

/**
 * Initial parameters. Matrices are normal with deviation 0.02, divided by sqrt(2 blocks) for those that write to the
 * residual stream. Gains are one.
 */
export function initialize(model: ModelDescription, random: Random): Map<string, Float32Array> {
  const parameters = new Map<string, Float32Array>();
  for (const [name, shape] of model.expected) {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (shape.length === 1) values.fill(1);
    else {
      const deviation = /(o_proj|down_proj)/.test(name) ? 0.02 / Math.sqrt(2 * model.blocks.length) : 0.02;
      for (let i = 0; i < values.length; i++) values[i] = deviation * random.normal();
    }
    parameters.set(name, values);
  }
  return parameters;
}

/** The text to learn, and where its windows begin. */
interface TrainingText {
  /** Token ids. */
  readonly stream: Int32Array;
  /** Chooses the windows. */
  readonly random: Random;
}

/**
 * Next-token training on random windows of a stream, with a warm-up and then a cosine down to a tenth. Changes
 * `parameters`.
 */
export async function train<T>(
  { ops }: Engine<T>,
  model: ModelDescription,
  parameters: Map<string, Float32Array>,
  { stream, random }: TrainingText,
  settings: TrainingSettings,
): Promise<void> {
  const { steps, batch, length, rate, warmUp, clip } = settings;
  const decays = (name: string) => (model.expected.get(name) as readonly number[]).length > 1;
  const optimizer = adamW({ decay: 0.1, decays });
  const schedule = cosine({ warmUp, final: 0.1 });
  const started = performance.now();
  for (let step = 0; step < steps; step++) {
    const ids = new Int32Array(batch * length);
    const targets = new Int32Array(batch * length);
    for (let row = 0; row < batch; row++) {
      const from = random.integer(stream.length - length - 1);
      ids.set(stream.subarray(from, from + length), row * length);
      targets.set(stream.subarray(from + 1, from + length + 1), row * length);
    }
    const handles = Object.fromEntries(
      [...parameters].map(([name, values]) => [name, ops.fromF32(values, model.expected.get(name) as number[])]),
    );
    const { value, gradients } = ops.valueAndGradients((variables) => {
      const runtime = createRuntime(ops, new Map(Object.entries(variables)), { ties: model.ties });
      let hidden = model.embed(runtime, ids, batch, length);
      for (const block of model.blocks) {
        let state = block.begin(runtime, hidden);
        for (const stage of block.stages) state = stage.run(runtime, state);
        hidden = state.residual;
      }
      return ops.crossEntropy(
        ops.reshape(languageModel(model, 'the training').logits(runtime, hidden), [
          batch * length,
          model.vocabularySize,
        ]),
        targets,
      );
    }, handles);
    const loss = (await ops.data(value))[0];
    if (!Number.isFinite(loss)) throw new Error(`the loss is ${loss} at step ${step}: lower the rate`);
    const downloaded = new Map<string, Float32Array>();
    for (const [name, gradient] of Object.entries(gradients)) {
      downloaded.set(name, await ops.data(gradient));
      ops.dispose(gradient);
    }
    ops.dispose(value);
    for (const handle of Object.values(handles)) ops.dispose(handle);
    clipGradients(downloaded, gradientNorm(downloaded), clip);
    optimizer.step(parameters, downloaded, () => rate * schedule(step, steps));
    settings.report(step, loss, ((step + 1) * batch * length) / ((performance.now() - started) / 1000));
  }
}

/** Parameters as tensors in their shapes. */
export function asTensors(
  model: ModelDescription,
  parameters: ReadonlyMap<string, Float32Array>,
): Map<string, Tensor<'f32'>> {
  return new Map(
    [...parameters].map(([name, values]) => [name, tensor('f32', model.expected.get(name) as number[], values)]),
  );
}

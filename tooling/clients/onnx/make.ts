/**
 * Writes ONNX folders: small models of every architecture in floats, whose logits transformers has computed; trained
 * models in every type, with the logits of our own forward pass on the same codes; and quantized folders. `make.ts
 * WORK`.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noStatistics } from '@q/calib';
import { type Checkpoint, gptqLayout, openCheckpoint, plainLayout } from '@q/checkpoint';
import { createContext, dequantize, type Tensor } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { createRuntime, describeModel, forward, stacksOf } from '@q/models';
import { fp16, fp32, type OnnxType, onnxTypes, q2, q4, q4f16, q8, writeOnnxFolder } from '@q/onnx';
import { rtn } from '@q/rtn';
import { writeSafetensorsFile } from '@q/safetensors';
import { createEngine } from '@q/tfjs';
import { goldenTensor } from '../../../packages/models/src/testing/golden-weights.js';

/** The expected results of a client for a folder. Files of f32 are next to it. */
export interface ClientCase {
  readonly name: string;
  readonly folder: string;
  /** `onnx/model_q4.onnx` */
  readonly file: string;
  readonly dtype: string;
  readonly ids: readonly (readonly number[])[];
  /** The output that is compared. An encoder's output has no cache. */
  readonly output: 'logits' | 'last_hidden_state' | 'pooler_output';
  readonly encoder?: true;
  /** File with `[batch, kept, width]` at the positions of `kept`, or at all positions. */
  readonly values: string;
  readonly kept?: readonly number[];
  readonly width: number;
  /** Largest difference as a share of the largest logit; undefined if the divergence is compared. */
  readonly tolerance?: number;
  /** Largest KL divergence in nats. Default 1e-3. */
  readonly nats?: number;
  /** A prompt for transformers.js, and the continuation of our forward pass. */
  readonly text?: { readonly prompt: string; readonly ids: readonly number[]; readonly next: readonly number[] };
}

const out = process.argv[2];
const producer = { name: 'q', version: '0' };
const kernels = await createWasmKernels();
const context = createContext({ kernels });
const { ops, dispose } = await createEngine({ kernels });
const cases: ClientCase[] = [];
const layouts = [gptqLayout(), plainLayout()];
const plainQuantizer = rtn();

/** A quantizer that keeps the values of its results. */
function remembering() {
  const values = new Map<string, Tensor<'f32'>>();
  return {
    values,
    quantizer: async (weight: Tensor<'f32'>, scheme: Parameters<typeof plainQuantizer.quantize>[2], name: string) => {
      const { quantized } = await plainQuantizer.quantize(weight, noStatistics, scheme, context);
      values.set(name, dequantize(quantized));
      return quantized;
    },
  };
}

/** Our forward pass of a checkpoint in which some weights are replaced. */
async function ourPass(checkpoint: Checkpoint, changed: ReadonlyMap<string, Tensor<'f32'>>) {
  const model = checkpoint.model!;
  const weights = new Map<string, ReturnType<typeof ops.fromTensor>>();
  for (const name of model.expected.keys())
    weights.set(name, ops.keep(ops.fromTensor(changed.get(name) ?? (await checkpoint.weight(name)))));
  for (const [name, equal] of model.ties) weights.set(name, weights.get(equal)!);
  const runtime = createRuntime(ops, weights);
  return {
    async logits(ids: readonly (readonly number[])[]): Promise<Float32Array> {
      const handle = forward(model, runtime, Int32Array.from(ids.flat()), ids.length, ids[0].length);
      const values = await ops.data(handle);
      ops.dispose(handle);
      return values;
    },
    dispose() {
      for (const handle of new Set(weights.values())) ops.dispose(handle);
    },
  };
}

async function write(name: string, values: ArrayLike<number>): Promise<string> {
  await writeFile(join(out, name), new Uint8Array(Float32Array.from(values).buffer));
  return name;
}

/** Makes a model folder with the weights that the golden logits were computed with. */
async function writeGoldenWeights(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  names?: readonly string[],
): Promise<void> {
  await mkdir(folder);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const { expected } = describeModel(config, undefined, names && new Set(names));
  const stacks = stacksOf(config);
  const tensors = [...expected].map(([name, shape]): [string, Tensor] => [name, goldenTensor(name, shape, stacks)]);
  await writeSafetensorsFile(join(folder, 'model.safetensors'), new Map(tensors));
}

// Every architecture, with the logits of transformers.
interface Golden {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly names?: readonly string[];
  readonly ids: readonly (readonly number[])[];
  readonly kept?: readonly number[];
  readonly logits?: readonly number[];
  /** For encoders. */
  readonly tensors?: Readonly<Record<string, readonly number[]>>;
  readonly hidden?: readonly number[];
  readonly pooled?: readonly number[];
  readonly classes?: readonly number[];
  readonly tokenClasses?: readonly number[];
}
const goldenFolder = new URL('../../../packages/models/src/testing/', import.meta.url);
const refused: string[] = [];
/** Context length of a file, for models whose rotary angles change in long sequences. */
const contextOf = ({ config }: Golden, length: number) => {
  const original = config.original_max_position_embeddings as number | undefined;
  return original !== undefined && length > original ? { context: length } : {};
};
for (const file of ['transformers-logits.json', 'transformers-decoders.json', 'transformers-encoders.json']) {
  const text = await readFile(new URL(file, goldenFolder), 'utf8').catch(() => '{"cases":[]}');
  for (const [index, golden] of (JSON.parse(text).cases as Golden[]).entries()) {
    const source = join(out, `golden-${file.replace(/\W/g, '-')}-${index}`);
    const names = golden.names ?? (golden.tensors && Object.keys(golden.tensors));
    await writeGoldenWeights(source, golden.config, names);
    const checkpoint = await openCheckpoint(source, layouts);
    // Files cannot have sequences longer than the model's positions.
    const length = golden.ids[0].length;
    const { maxPositions } = checkpoint.model!;
    for (const portable of length > maxPositions ? [] : [false, true]) {
      const name = `${golden.name}${portable ? ', portable' : ''}`;
      const folder = `${source}-${portable ? 'portable' : 'onnx'}`;
      try {
        const quantizer = remembering().quantizer;
        await writeOnnxFolder(checkpoint, folder, {
          type: fp32,
          quantizer,
          portable,
          producer,
          ...contextOf(golden, length),
        });
      } catch (error) {
        refused.push(`${name}: ${(error as Error).message}`);
        continue;
      }
      const judged = Object.entries({
        logits: golden.logits ?? golden.classes ?? golden.tokenClasses,
        ...(golden.classes || golden.tokenClasses
          ? {}
          : { last_hidden_state: golden.hidden, pooler_output: golden.pooled }),
      });
      for (const [output, values] of judged) {
        if (!values) continue;
        const rows =
          golden.ids.length * (output === 'pooler_output' || golden.classes ? 1 : (golden.kept?.length ?? length));
        cases.push({
          ...{
            name: `${name}, ${output}`,
            folder,
            file: 'onnx/model.onnx',
            dtype: 'fp32',
            ids: golden.ids,
            tolerance: 1e-5,
          },
          output: output as ClientCase['output'],
          values: await write(`${folder.split('/').at(-1)}-${output}.f32`, values),
          width: values.length / rows,
          ...(golden.kept ? { kept: golden.kept } : {}),
          ...(checkpoint.model!.head ? {} : { encoder: true as const }),
        });
      }
    }
    await checkpoint.close();
  }
}

// Trained models in every type.
const prompt = 'Once upon a time there was a little girl';
const shared = process.env.QUANT_SHARED;
// Paths of further model folders, separated by commas. QUANT_REAL names the folder of the published models elsewhere.
const further = process.env.QUANT_MODELS;
const models: Readonly<Record<string, string>> = {
  demo: fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url)),
  ...(shared
    ? Object.fromEntries(['llama-5m', 'gpt2-3m', 'opt-3m'].map((name) => [name, join(shared, 'models', name)]))
    : {}),
  ...(further ? Object.fromEntries(further.split(',').map((path) => [path.split('/').at(-1)!, path])) : {}),
};
const tolerance = (type: OnnxType) => (type === fp32 ? 1e-5 : undefined);
for (const [name, path] of Object.entries(models)) {
  const checkpoint = await openCheckpoint(path, layouts);
  const ids = [Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % checkpoint.model!.vocabularySize)];
  for (const portable of [false, true]) {
    for (const type of onnxTypes) {
      const { quantizer, values } = remembering();
      const folder = join(out, `${name}-${type.name}${portable ? '-portable' : ''}`);
      await writeOnnxFolder(checkpoint, folder, {
        ...{ type, quantizer, portable, producer },
        // One folder has data files.
        ...(type === q4 ? { modelFileBytes: 0, dataFileBytes: 5e5 } : {}),
      });
      const pass = await ourPass(checkpoint, values);
      cases.push({
        ...{ name: `${name} ${type.name}${portable ? ', portable' : ''}`, folder, dtype: type.name, ids },
        file: `onnx/model${type.suffix}.onnx`,
        output: 'logits',
        values: await write(`${name}-${type.name}-${portable}.f32`, await pass.logits(ids)),
        width: checkpoint.model!.vocabularySize,
        ...(tolerance(type) === undefined ? {} : { tolerance: tolerance(type) }),
        ...(type.roundsInputs ? { nats: 1e-2 } : {}),
        ...([fp32, q4, fp16].includes(type) && !portable ? { text: await continued(path, checkpoint, pass) } : {}),
      });
      pass.dispose();
    }
  }
  await checkpoint.close();
}

// Rows that are not whole blocks: the table of tokens stays in floats.
const oddConfig = {
  ...{ model_type: 'llama', vocab_size: 49, hidden_size: 60, intermediate_size: 91, num_hidden_layers: 2 },
  ...{ num_attention_heads: 2, max_position_embeddings: 64 },
};
for (const tied of [false, true]) {
  const source = join(out, tied ? 'odd-tied' : 'odd');
  await writeGoldenWeights(source, { ...oddConfig, tie_word_embeddings: tied });
  const checkpoint = await openCheckpoint(source, layouts);
  const ids = [Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % oddConfig.vocab_size)];
  for (const type of [q8, q4, q4f16, q2]) {
    const { quantizer, values } = remembering();
    const folder = `${source}-${type.name}`;
    await writeOnnxFolder(checkpoint, folder, { type, quantizer, producer });
    const pass = await ourPass(checkpoint, values);
    cases.push({
      ...{ name: `odd sizes${tied ? ', tied' : ''}, ${type.name}`, folder, dtype: type.name, ids },
      ...{ file: `onnx/model${type.suffix}.onnx`, output: 'logits', width: oddConfig.vocab_size },
      values: await write(`${folder.split('/').at(-1)}.f32`, await pass.logits(ids)),
    });
    pass.dispose();
  }
  await checkpoint.close();
}

/**
 * The prompt's tokens, with the tokenizer's special tokens before them, and the 16 most likely next tokens of our
 * forward pass.
 */
async function continued(path: string, checkpoint: Checkpoint, pass: Awaited<ReturnType<typeof ourPass>>) {
  const json = async (file: string) => JSON.parse(await readFile(join(path, file), 'utf8'));
  const { loadTokenizer } = await import('@q/models');
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: await json('config.json'),
  });
  const ids = [...tokenizer.opening, ...tokenizer.encode(prompt)];
  const next: number[] = [];
  const width = checkpoint.model!.vocabularySize;
  for (let step = 0; step < 16; step++) {
    const logits = await pass.logits([[...ids, ...next]]);
    const last = logits.subarray(logits.length - width);
    next.push(last.reduce((best, value, i) => (value > last[best]! ? i : best), 0));
  }
  return { prompt, ids, next };
}

await writeFile(join(out, 'cases.json'), JSON.stringify({ cases, refused }));
for (const words of refused) console.log(`refused: ${words}`);
console.log(`${cases.length} folders`);
dispose();
await kernels.dispose();

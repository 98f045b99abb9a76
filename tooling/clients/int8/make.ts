/**
 * Writes folders with quantized inputs of every kind, int8 and FP8, each with the logits of our own forward pass on the
 * same grids, and of the original model.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cutWindows, splitDocuments, tokenStream } from '@q/calib';
import {
  bitsandbytesInt8Layout,
  type Checkpoint,
  compressedTensorsInt8Layout,
  fp8Layout,
  openCheckpoint,
  type QuantizedLayout,
} from '@q/checkpoint';
import { absMax, createContext, type Scheme, schemes } from '@q/core';
import { runWindows } from '@q/eval';
import { inputExecution } from '@q/execution';
import { createWasmKernels } from '@q/kernels-wasm';
import { llmInt8, llmInt8Input, llmInt8Weight } from '@q/llm-int8';
import { loadTokenizer } from '@q/models';
import { planRun, type Recipe, runPlan } from '@q/pipeline';
import { rtn } from '@q/rtn';
import { type Level, o1, o2, o3, perChannelPerToken, smoothquant } from '@q/smoothquant';
import { createEngine } from '@q/tfjs';

const out = process.argv[2];
const shared = process.env.QUANT_SHARED;
const text = await readFile(new URL('../../../packages/cli/demo/text/calibration.txt', import.meta.url), 'utf8');
const models: Record<string, string> = {
  demo: fileURLToPath(new URL('../../../packages/cli/demo/model', import.meta.url)),
  ...(shared
    ? Object.fromEntries(['llama-5m', 'gpt2-3m', 'opt-3m'].map((name) => [name, join(shared, 'models', name)]))
    : {}),
};

const integers = compressedTensorsInt8Layout();
const smooth = (level: Level): Recipe => ({
  layout: integers,
  transforms: [smoothquant({ level })],
  rules: [
    {
      match: /^(?!lm_head$)/,
      quantizer: rtn({ fit: absMax({ range: 'narrow' }) }),
      scheme: level.weight,
      activation: level.activation,
    },
  ],
  seed: 0,
});
const mixed = (threshold: number): Recipe => ({
  layout: bitsandbytesInt8Layout(),
  rules: [
    {
      match: /^(?!lm_head$)/,
      quantizer: llmInt8(),
      scheme: llmInt8Weight,
      activation: llmInt8Input(threshold),
    },
  ],
  seed: 0,
});
const floats = fp8Layout();
const fp8 = (weight: Scheme, input: Scheme): Recipe => ({
  layout: floats,
  rules: [
    {
      match: /^(?!lm_head$)/,
      quantizer: rtn({ fit: absMax() }),
      scheme: weight,
      activation: { scheme: input },
    },
  ],
  seed: 0,
});
const recipes: Record<string, Recipe> = {
  'fp8-per-channel': fp8(schemes.fp8RowWise, schemes.activations.fp8RowWise),
  'fp8-per-tensor': fp8(schemes.fp8TensorWise, schemes.activations.fp8TensorWise),
  'fp8-static': fp8(schemes.fp8RowWise, schemes.activations.fp8Static),
  'w8a8-o1': smooth(o1),
  'w8a8-o2': smooth(o2),
  'w8a8-o3': smooth(o3),
  'w8a8-per-channel': smooth(perChannelPerToken),
  'llm-int8-6': mixed(6),
  // A threshold so low that every layer has outlier columns.
  'llm-int8-2': mixed(2),
};

const kernels = await createWasmKernels();
const context = createContext({ kernels });
for (const [name, folder] of Object.entries(models)) {
  const json = async (file: string) => JSON.parse(await readFile(join(folder, file), 'utf8'));
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: await json('config.json'),
  });
  // All four models were trained with token 0 before each document, but only the demo model's tokenizer has it. Without
  // it the first token is one that the model has never seen there.
  const trained = { ...tokenizer, opening: [0] };
  const calibration = cutWindows(tokenStream(splitDocuments(text), trained), 128, { count: 16 });
  const window = { ids: calibration.ids.slice(0, 64), count: 1, length: 64 };
  const logits = async (checkpoint: Checkpoint) => {
    if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
    // The wasm engine gives the same bytes on every machine. The last bits of a value near a tie decide its code, and
    // another code changes later codes.
    const engine = await createEngine({ kernels, backend: 'wasm' });
    const execution = await inputExecution(checkpoint, kernels);
    const source = await runWindows(checkpoint.model, engine, (tensor) => checkpoint.weight(tensor), window, execution);
    const values = await source.logits(0, 1);
    await engine.dispose();
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  };
  const layouts: QuantizedLayout[] = [integers, floats, bitsandbytesInt8Layout()];
  for (const [kind, recipe] of Object.entries(recipes)) {
    // transformers builds GPT-2 with Conv1D, which compressed-tensors does not support; the plan states this.
    if (name === 'gpt2-3m' && (recipe.layout === integers || recipe.layout === floats)) continue;
    const source = await openCheckpoint(folder, layouts);
    const target = join(out, `${name}-${kind}`);
    await runPlan(planRun(source, recipe), {
      out: target,
      context,
      calibration,
      engine: () => createEngine({ kernels, backend: 'wasm' }),
    });
    const written = await openCheckpoint(target, layouts);
    await writeFile(join(target, 'ids.json'), JSON.stringify([...window.ids]));
    await writeFile(join(target, 'logits.f32'), await logits(written));
    await writeFile(join(target, 'original.f32'), await logits(source));
    await source.close();
    await written.close();
    console.log(`wrote ${name}-${kind}`);
  }
}
await kernels.dispose();

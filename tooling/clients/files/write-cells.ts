import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { noStatistics } from '@q/calib';
import { type Checkpoint, openCheckpoint } from '@q/checkpoint';
import { createContext, dequantize, minMax, type Scheme, type Tensor } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { createRuntime, encode, forward, meanOfTokens, sentenceVectors } from '@q/models';
import { onnxTypes, writeOnnxFolder } from '@q/onnx';
import { rtn } from '@q/rtn';
import { createEngine } from '@q/tfjs';
import { ggufColumns, onnxColumns, type SmallModel } from './architectures.js';
import { type Cell, type CellResult, keyOf } from './cell.js';
import { runCommand } from './run-command.js';
import { writeSmallModel } from './write-small-model.js';

/**
 * Converts small models to every type with `q convert`, and computes our own forward pass on the codes of each file.
 * @returns cells to run, and those that the command refuses
 */
export async function writeCells(
  work: string,
  models: readonly SmallModel[],
): Promise<{ cells: Cell[]; refused: CellResult[] }> {
  const kernels = await createWasmKernels();
  const { ops, dispose } = await createEngine({ kernels, backend: 'wasm' });
  const context = createContext({ kernels });
  const quantizer = rtn({ fit: minMax() });
  const cells: Cell[] = [];
  const refused: CellResult[] = [];

  /** Runs our forward pass of a checkpoint in which some weights are replaced. */
  async function computed(checkpoint: Checkpoint, ids: readonly number[], changed: ReadonlyMap<string, Tensor<'f32'>>) {
    const model = checkpoint.model!;
    const weights = new Map<string, ReturnType<typeof ops.fromTensor>>();
    for (const name of model.expected.keys())
      weights.set(name, ops.keep(ops.fromTensor(changed.get(name) ?? (await checkpoint.weight(name)))));
    for (const [name, equal] of model.ties) weights.set(name, weights.get(equal)!);
    const run = model.head ? forward : encode;
    const handle = run(model, createRuntime(ops, weights), Int32Array.from(ids), 1, ids.length);
    const values = await ops.data(handle);
    ops.dispose(handle);
    for (const each of new Set(weights.values())) ops.dispose(each);
    return model.head ? values : sentenceVectors(meanOfTokens, values, 1, ids.length)[0];
  }

  /** The values of the codes that `q convert` has computed. The same file is written again, and the values are kept. */
  async function onnxValues(checkpoint: Checkpoint, type: string, file: string, again: string) {
    const values = new Map<string, Tensor<'f32'>>();
    await writeOnnxFolder(checkpoint, again, {
      type: onnxTypes.find(({ name }) => name === type)!,
      async quantizer(weight: Tensor<'f32'>, scheme: Scheme, name: string) {
        const { quantized } = await quantizer.quantize(weight, noStatistics, scheme, context);
        values.set(name, dequantize(quantized));
        return quantized;
      },
      producer: { name: '@q/onnx', version: packageVersion },
    });
    const [own, other] = await Promise.all(
      [file, file.replace(/^.*\/onnx\//, `${again}/onnx/`)].map((path) => readFile(path)),
    );
    if (!own.equals(other)) throw new Error(`${file}: differs from what writeOnnxFolder writes`);
    return values;
  }

  const { version: packageVersion } = JSON.parse(
    await readFile(new URL('../../../packages/cli/package.json', import.meta.url), 'utf8'),
  );
  for (const [index, model] of models.entries()) {
    const { name: architecture, encoder } = model;
    // A file has its folder's name, and llama.cpp adds tokens of Phi-3 if that name is phi3.
    const folder = join(work, `model-${index}`);
    const ids = await writeSmallModel(folder, model);
    const add = async (
      place: Pick<Cell, 'runtime' | 'type'>,
      make: (stem: string) => Promise<{ file: string; values: Float32Array }>,
    ) => {
      const stem = join(work, `${architecture}-${place.runtime}-${place.type}`);
      const cell = { ...place, architecture };
      try {
        const { file, values } = await make(stem);
        await writeFile(`${stem}.f32`, values);
        cells.push({ ...cell, ids, file, reference: `${stem}.f32`, encoder: encoder !== undefined });
      } catch (error) {
        refused.push({ key: keyOf(cell), reason: (error as Error).message.replaceAll(`${folder}: `, '') });
      }
    };
    for (const [type] of onnxColumns)
      await add({ runtime: 'onnx', type }, async (stem) => {
        const result = await runCommand('convert', folder, stem, '--to', 'onnx', '--type', type);
        const file = join(stem, (result['files'] as string[])[0]);
        const checkpoint = await openCheckpoint(folder, []);
        try {
          const values = await onnxValues(checkpoint, type, file, `${stem}-again`);
          return { file, values: await computed(checkpoint, ids, values) };
        } finally {
          await checkpoint.close();
        }
      });
    for (const [type] of ggufColumns)
      await add({ runtime: 'gguf', type }, async (stem) => {
        const file = `${stem}.gguf`;
        await runCommand('convert', folder, file, '--to', 'gguf', '--type', type);
        const checkpoint = await openCheckpoint(file, []);
        try {
          return { file, values: await computed(checkpoint, ids, new Map()) };
        } finally {
          await checkpoint.close();
        }
      });
  }
  await mkdir(work, { recursive: true });
  dispose();
  await kernels.dispose();
  return { cells, refused };
}

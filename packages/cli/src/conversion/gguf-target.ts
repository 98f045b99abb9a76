import { conversionSource } from '@q/checkpoint';
import { type BlockFormat, SchemeError } from '@q/core';
import {
  type ConvertedModel,
  convertModel,
  describeUnfitRows,
  type ImportanceMatrix,
  importanceMatrix,
  LostTensorError,
  planModel,
  type RequantizeOptions,
  writeModel,
} from '@q/gguf';
import { parseSize } from '@q/pipeline';
import type { ConversionTarget, ConvertOptions } from '../commands/convert.js';
import { openHostKernels } from '../host-kernels.js';
import { InterruptedError } from '../interrupted-error.js';
import { openModel } from '../open-model.js';
import { type RemoteTensors, remoteTensors } from '../queue/convert-work.js';
import { openQueueRun } from '../queue/queue-run.js';
import { ggufTypes } from '../registry.js';
import { formatBytes, formatSeconds } from '../units.js';
import { UsageError } from '../usage-error.js';
import { collectImportance, type SolvedWeights, solveWeights } from './calibrate-blocks.js';
import { chooseTypes } from './choose-types.js';
import { ggufType, outputChoice, typeOrKeep } from './gguf-types.js';
import { lockedOutput } from './locked-output.js';
import { openImportance } from './open-importance.js';
import { refuseExisting } from './refuse-existing.js';
import { refuseOtherEnding } from './refuse-other-ending.js';
import { refuseRecipe, refuseUnused } from './refuse-unused.js';

/** A file for llama.cpp, node-llama-cpp and wllama: names, hyperparameters, tokenizer and weights in one. */
export const ggufTarget: ConversionTarget = {
  name: 'gguf',
  async run(path, out, options, context) {
    const { terminal, signal, files, vocabulary } = context;
    const { within } = options;
    refuseOtherEnding(out, ['.gguf'], 'no command opens a GGUF file by another name');
    refuseWithin(options);
    refuseUnused(options, ['portable', 'context', 'maxTensor'], 'is of --to onnx: leave it out');
    refuseRecipe(
      options,
      vocabulary,
      ['method', 'embeddings', 'requantize'],
      '--to gguf makes no use of it, and would write the same file without it: leave it out',
    );
    // A number is a size; the names of types begin with letters.
    const size = within !== undefined && /^\s*[0-9]/.test(within) ? parseSize('--within', within).bytes : undefined;
    const type =
      within === undefined
        ? ggufType('--type', options.type ?? 'f16', ggufTypes)
        : // Blocks of 32 values fit the rows of nearly all matrices, so the size is chosen for all of them.
          ggufType('--within', size === undefined ? within : 'q8_0', ggufTypes);
    const choice: RequantizeOptions & { importance?: ImportanceMatrix; types?: ReadonlyMap<string, BlockFormat> } = {
      type,
      output: outputChoice(options.output),
      embeddings: typeOrKeep('--embeddings', options.embeddings),
      ...(options.imatrix === undefined ? {} : { importance: await openImportance(options.imatrix) }),
    };
    if (options.method !== undefined && options.method !== 'gptq')
      throw new UsageError(
        `--method ${options.method}: gptq solves the types of GGUF; without a method the encoders of llama.cpp round`,
      );
    await refuseExisting(path, out, files);
    const started = performance.now();
    if (options.queue !== undefined && options.method !== undefined)
      throw new UsageError(
        `--queue: --method ${options.method} solves module after module on one machine: leave one of them out`,
      );
    const queueRun = await openQueueRun(out, options, context);
    const checkpoint = await openModel(path, vocabulary);
    try {
      const roundedTo = checkpoint.roundedTo ?? checkpoint.layout;
      if (roundedTo !== undefined && !('values' in type && type.values === 1) && !options.requantize)
        throw new SchemeError(
          `${path}: is quantized already (${roundedTo}): start from the original, or allow it with --requantize`,
        );
      const source = await conversionSource(checkpoint);
      const model = convertModel(source, { preTokenizer: options.preTokenizer });
      // Without a method the text gives weights of the columns.
      if (options.calib !== undefined && options.method === undefined && choice.importance === undefined)
        choice.importance = importanceMatrix(await collectImportance(checkpoint, model, options, context));
      if (within !== undefined) {
        const { types, words } = await chooseTypes(
          {
            ...{ checkpoint, model, limit: planModel(model, choice, path), solved: options.method !== undefined },
            ...(size === undefined ? {} : { bytes: size }),
          },
          options,
          context,
        );
        choice.types = types;
        terminal.note(words);
      }
      let plan = planModel(model, choice, path);
      const run = { signal, files, progress: terminal.progress };
      const notes = [...checkpoint.notes, ...model.notes].map((note) => `${path}: ${note}`);
      const unfit = describeUnfitRows(plan);
      if (unfit !== undefined) notes.push(unfit);
      const kernels = await openHostKernels(options.threads, (note) => notes.push(note));
      for (const note of notes) terminal.note(`note: ${note}`);
      let solved: SolvedWeights | undefined;
      let remote: RemoteTensors | undefined;
      try {
        await lockedOutput(out, files, async () => {
          // Another process may have made it meanwhile.
          await refuseExisting(path, out, files);
          if (options.method !== undefined) {
            const work = { checkpoint, converted: model, plan, folder: `${out}.solved` };
            solved = await solveWeights(work, options, context);
          }
          if (queueRun) remote = await remoteTensors(queueRun, { checkpoint, model, plan, kernels: kernels.name });
          // What a type cannot hold is known when it has been tried: the file is then begun again with that tensor in f32.
          for (let kept = new Set<string>(), written = false; !written; ) {
            try {
              await writeModel(source, model, plan, out, {
                ...{ ...run, kernels },
                ...(solved ? { encoded: withoutKept(solved.encoded, model, kept) } : {}),
                ...(remote ? { encodedElsewhere: remote.encoded } : {}),
              });
              written = true;
            } catch (error) {
              if (!(error instanceof LostTensorError) || kept.has(error.tensor) || remote) throw error;
              kept = new Set([...kept, error.tensor]);
              plan = planModel(model, { ...choice, kept }, path);
              notes.push(error.message);
              terminal.note(`note: ${error.message}. It is kept in f32`);
            }
          }
          await solved?.discard();
        });
        await (remote as RemoteTensors | undefined)?.close();
        await queueRun?.close(true);
      } catch (error) {
        if (signal.aborted)
          throw new InterruptedError(
            options.method === undefined
              ? 'Interrupted. Nothing was left behind.'
              : `Interrupted. ${out}.solved holds what is solved: the same command goes on from there.`,
          );
        throw error;
      } finally {
        await (remote as RemoteTensors | undefined)?.close();
        await kernels.dispose();
      }
      const seconds = (performance.now() - started) / 1000;
      const { byteLength: bytes } = plan.file;
      if (options.json)
        terminal.printJson({
          ...{ model: path, output: out, bytes, seconds, notes },
          ...(solved ? { layers: solved.layers } : {}),
          tensors: plan.tensors.map(({ from, to, why, bytes: size }) => ({
            ...{ name: from.name, shape: from.shape, type: to.name, why, bytes: size },
          })),
        });
      else terminal.print(`${out}: ${formatBytes(bytes)} in ${formatSeconds(seconds)}`);
    } finally {
      await queueRun?.close(false);
      await checkpoint.close();
    }
  },
};

/** Solved rows but those of tensors that are kept. */
function withoutKept(
  encoded: ReadonlyMap<string, Uint8Array>,
  { tensors }: ConvertedModel,
  kept: ReadonlySet<string>,
): ReadonlyMap<string, Uint8Array> {
  const left = new Set(tensors.filter(({ name }) => kept.has(name)).flatMap(({ from }) => from));
  return new Map([...encoded].filter(([name]) => !left.has(name)));
}

/** @throws UsageError for options that name types in addition to `--within`, and if there is no text for the choice */
function refuseWithin({ within, type, output, embeddings, calib }: ConvertOptions): void {
  if (within === undefined) return;
  const other = Object.entries({ '--type': type, '--output': output, '--embeddings': embeddings }).find(
    ([, value]) => value !== undefined,
  );
  if (other)
    throw new UsageError(`${other[0]} ${other[1]}: --within ${within} chooses all types: leave one of them out`);
  if (calib === undefined) throw new UsageError(`--within ${within}: needs --calib FILE: text to choose the types by`);
}

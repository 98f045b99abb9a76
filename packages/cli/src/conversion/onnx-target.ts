import { readSentenceModules } from '@q/checkpoint';
import { closest, SchemeError } from '@q/core';
import { removeFolders } from '@q/durable-files';
import { lostHead, type OnnxType, onnxTypes, writeOnnxFolder } from '@q/onnx';
import type { CommandContext } from '../command.js';
import type { ConversionTarget, ConvertOptions } from '../commands/convert.js';
import { openHostKernels } from '../host-kernels.js';
import { InterruptedError } from '../interrupted-error.js';
import { openModel } from '../open-model.js';
import { formatBytes, formatSeconds } from '../units.js';
import { UsageError } from '../usage-error.js';
import { version } from '../version.js';
import { lockedOutput } from './locked-output.js';
import { refuseRecipe, refuseUnused } from './refuse-unused.js';
import { weightQuantizer } from './weight-quantizer.js';

/** A folder for onnxruntime, transformers.js and onnxruntime-genai: `onnx/model_q4.onnx`, config, tokenizer. */
export const onnxTarget: ConversionTarget = {
  name: 'onnx',
  async run(path, out, options, command) {
    const { terminal, signal, vocabulary, files } = command;
    const type = typeOf(options.type ?? 'q4');
    if (options.queue !== undefined && options.method === undefined)
      throw new UsageError(
        '--queue: an ONNX file is written on one machine: give a --method whose linears the workers quantize',
      );
    refuseUnused(options, ['within', 'output', 'imatrix', 'preTokenizer'], 'is of --to gguf: leave it out');
    if (options.method === undefined) {
      const why = 'needs --method: without one the matrices are rounded as --type says, and nothing else is done';
      refuseUnused(options, ['calib', 'embeddings'], why);
      refuseRecipe(options, vocabulary, ['requantize'], why);
    }
    const started = performance.now();
    const between = options.method === undefined ? undefined : `${out}.quantized`;
    if (between !== undefined) {
      await refuseLostHead(path, vocabulary);
      await quantizeFirst(path, between, type, options, command);
    }
    const checkpoint = await openModel(between ?? path, vocabulary);
    const notes = checkpoint.notes.map((note) => `${path}: ${note}`);
    const kernels = await openHostKernels(options.threads, (note) => {
      notes.push(note);
    });
    try {
      const { roundedTo } = checkpoint;
      if (roundedTo !== undefined && type.scheme && !options.requantize)
        throw new SchemeError(
          `${path}: is quantized already (${roundedTo}): start from the original, or allow it with --requantize`,
        );
      const written = await lockedOutput(out, files, () =>
        writeOnnxFolder(checkpoint, out, {
          ...{ type, files, signal, progress: terminal.progress },
          ...{ tensorBytes: options.maxTensor, context: options.context, portable: options.portable === true },
          quantizer: weightQuantizer(kernels),
          producer: { name: '@q/onnx', version },
        }),
      );
      notes.push(...written.notes);
      const seconds = (performance.now() - started) / 1000;
      const { files: names, bytes } = written;
      if (options.json)
        terminal.printJson({ model: path, output: out, type: type.name, files: names, bytes, seconds, notes });
      else {
        for (const note of notes) terminal.note(`note: ${note}`);
        terminal.print(`${out}/${names[0]}: ${formatBytes(bytes)} in ${formatSeconds(seconds)}`);
      }
    } catch (error) {
      if (signal.aborted) throw new InterruptedError('Interrupted. No incomplete model was left behind.');
      throw error;
    } finally {
      await kernels.dispose();
      await checkpoint.close();
      if (between !== undefined && !signal.aborted) await removeFolders(between, { files });
    }
  },
};

function typeOf(name: string): OnnxType {
  const found = onnxTypes.find((type) => type.name === name);
  if (found) return found;
  const known = onnxTypes.map((type) => type.name);
  const near = closest(name, known);
  throw new UsageError(`--type ${name}: ${known.join(', ')} are known${near ? `; did you mean ${near}?` : ''}`);
}

/** Finds out before a long run whether its result can be written. */
async function refuseLostHead(path: string, vocabulary: CommandContext['vocabulary']): Promise<void> {
  const checkpoint = await openModel(path, vocabulary);
  try {
    lostHead(checkpoint, await readSentenceModules(path));
  } finally {
    await checkpoint.close();
  }
}

/** Runs `q quantize` into a folder next to the output; its codes are copied. After an interruption the folder stays. */
async function quantizeFirst(
  path: string,
  out: string,
  { name, scheme }: OnnxType,
  options: ConvertOptions,
  command: CommandContext,
): Promise<void> {
  const method = command.vocabulary.methods.find((each) => each.name === options.method);
  if (!scheme && !method?.schemes)
    throw new UsageError(`--method ${options.method}: --type ${name} keeps floats, which no method makes`);
  const { granularity, format, zeroPoint } = scheme ?? {};
  const own = method?.schemes
    ? {}
    : {
        layout: 'plain',
        bits: format?.bits,
        group: granularity?.kind === 'group' ? granularity.size : -1,
        ...(options.sym || options.asym ? {} : zeroPoint === 'none' ? { sym: true } : { asym: true }),
      };
  const { quantizeCommand } = await import('../commands/quantize.js');
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const quiet = { ...command, terminal: { ...command.terminal, print: command.terminal.note } };
  await quantizeCommand(path, out, { ...own, ...given, json: false, eval: false }, quiet);
}

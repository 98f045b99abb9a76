import { stat } from 'node:fs/promises';
import { lockFile } from '@q/durable-files';
import { LostTensorError, planRequantize, type RequantizePlan, readGgufHeader, requantize } from '@q/gguf';
import { openFile } from '@q/safetensors';
import type { CommandContext } from '../command.js';
import { ggufType, outputChoice, typeOrKeep } from '../conversion/gguf-types.js';
import { openImportance } from '../conversion/open-importance.js';
import { refuseExisting } from '../conversion/refuse-existing.js';
import { openHostKernels } from '../host-kernels.js';
import { InterruptedError } from '../interrupted-error.js';
import { ggufTypes } from '../registry.js';
import { formatBytes, formatSeconds, formatTable } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface GgufOptions {
  readonly type?: string;
  readonly output?: string;
  readonly embeddings?: string;
  readonly plan?: boolean;
  readonly imatrix?: string;
  readonly requantize?: boolean;
  readonly threads?: number;
  readonly json?: boolean;
}

/** `q gguf IN OUT`: quantizes a GGUF file of floats, tensor by tensor. */
export async function ggufCommand(
  input: string,
  output: string | undefined,
  options: GgufOptions,
  { terminal, signal, files }: CommandContext,
): Promise<void> {
  const choice = {
    type: ggufType('--type', options.type, ggufTypes),
    output: outputChoice(options.output),
    embeddings: typeOrKeep('--embeddings', options.embeddings),
    requantize: options.requantize,
    ...(options.imatrix === undefined ? {} : { importance: await openImportance(options.imatrix) }),
  };
  const { threads } = options;
  if (!output && !options.plan) throw new UsageError('the file to write is missing: q gguf IN.gguf OUT.gguf');
  const info = await stat(input).catch(() => undefined);
  if (!info?.isFile()) throw new UsageError(`${input}: is not a file; a .gguf file was expected`);
  if (output) await refuseExisting(input, output, files);
  const source = await openFile(input);
  try {
    const header = await readGgufHeader(source);
    let plan = planRequantize(header, choice, input);
    if (!options.json) terminal.print(planText(plan));
    if (options.plan || !output) {
      if (options.json) terminal.printJson(planJSON(input, plan));
      return;
    }
    const notes: string[] = [];
    const lock = await lockFile(`${output}.lock`, output, { files });
    const kernels = await openHostKernels(threads, (note) => notes.push(note));
    for (const note of notes) terminal.note(`note: ${note}`);
    const started = performance.now();
    try {
      // Whether a type can represent a tensor is known after the attempt: the file is then written again with that
      // tensor unchanged.
      for (let kept = new Set<string>(), written = false; !written; ) {
        try {
          await requantize(source, plan, output, { kernels, signal, files, progress: terminal.progress });
          written = true;
        } catch (error) {
          if (!(error instanceof LostTensorError) || kept.has(error.tensor)) throw error;
          kept = new Set([...kept, error.tensor]);
          plan = planRequantize(header, { ...choice, kept }, input);
          notes.push(error.message);
          terminal.note(`note: ${error.message}. It is kept`);
        }
      }
    } catch (error) {
      if (signal.aborted) throw new InterruptedError('Interrupted. Nothing was left behind.');
      throw error;
    } finally {
      await lock.release();
      await kernels.dispose();
    }
    const seconds = (performance.now() - started) / 1000;
    if (options.json) terminal.printJson({ ...planJSON(input, plan), output, seconds, notes });
    else terminal.print(`${output}: ${formatBytes(plan.file.byteLength)} in ${formatSeconds(seconds)}`);
  } finally {
    await source.close();
  }
}

function planJSON(input: string, { tensors, bytesBefore, bytesAfter }: RequantizePlan): Record<string, unknown> {
  return {
    input,
    ...{ bytesBefore, bytesAfter },
    tensors: tensors.map(({ from, to, why, bytes }) => ({
      ...{ name: from.name, shape: from.shape, from: from.type.name, to: to.name, why },
      ...{ bytesBefore: from.end - from.begin, bytesAfter: bytes },
    })),
  };
}

function planText({ tensors, bytesBefore, bytesAfter }: RequantizePlan): string {
  const table = formatTable(
    ['tensor', 'shape', 'is', 'becomes', 'before', 'after', 'why'],
    tensors.map(({ from, to, why, bytes }) => [
      from.name,
      `[${from.shape.join(', ')}]`,
      from.type.name,
      to === from.type ? 'as it is' : to.name,
      formatBytes(from.end - from.begin),
      formatBytes(bytes),
      why,
    ]),
  );
  const share = bytesBefore > 0 ? ` (${((100 * bytesAfter) / bytesBefore).toFixed(1)} %)` : '';
  return `${table}\n\n${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}${share} in ${tensors.length} tensors`;
}

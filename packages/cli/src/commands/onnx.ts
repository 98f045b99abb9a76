import { stat } from 'node:fs/promises';
import { onnxTypes, quantizeFile } from '@q/onnx';
import type { CommandContext } from '../command.js';
import { lockedOutput } from '../conversion/locked-output.js';
import { refuseExisting } from '../conversion/refuse-existing.js';
import { weightQuantizer } from '../conversion/weight-quantizer.js';
import { openHostKernels } from '../host-kernels.js';
import { InterruptedError } from '../interrupted-error.js';
import { formatBytes, formatSeconds } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface OnnxOptions {
  readonly type?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** `q onnx IN OUT`: quantizes the large matrices of any ONNX file. */
export async function onnxCommand(
  input: string,
  output: string,
  options: OnnxOptions,
  { terminal, signal, files }: CommandContext,
): Promise<void> {
  const type = onnxTypes.find(({ name }) => name === (options.type ?? 'q4'));
  if (!type) throw new UsageError(`--type ${options.type} is not known`);
  const info = await stat(input).catch(() => undefined);
  if (!info?.isFile()) throw new UsageError(`${input}: is not a file; an .onnx file was expected`);
  await refuseExisting(input, output, files);
  const started = performance.now();
  const notes: string[] = [];
  const kernels = await openHostKernels(options.threads, (note) => {
    notes.push(note);
  });
  try {
    const { quantized, kept, bytes } = await lockedOutput(output, files, async () => {
      await refuseExisting(input, output, files);
      return quantizeFile(input, output, {
        ...{ files, signal, progress: terminal.progress },
        forms: type.forms(weightQuantizer(kernels)),
      });
    });
    const seconds = (performance.now() - started) / 1000;
    if (options.json) terminal.printJson({ input, output, type: type.name, bytes, seconds, quantized, kept, notes });
    else {
      for (const note of notes) terminal.note(`note: ${note}`);
      for (const { name, why } of kept) terminal.note(`${name} stays as it is: ${why}`);
      terminal.print(
        `${output}: ${quantized.length} matrices, ${formatBytes(info.size)} -> ${formatBytes(bytes)} in ${formatSeconds(seconds)}`,
      );
    }
  } catch (error) {
    if (signal.aborted) throw new InterruptedError('Interrupted. Nothing was left behind.');
    throw error;
  } finally {
    await kernels.dispose();
  }
}

import { conversionSource } from '@q/checkpoint';
import { writeFileDurably } from '@q/durable-files';
import { convertModel, writeImportance } from '@q/gguf';
import type { CommandContext } from '../command.js';
import { type CalibrationFlags, collectImportance } from '../conversion/calibrate-blocks.js';
import { lockedOutput } from '../conversion/locked-output.js';
import { refuseExisting } from '../conversion/refuse-existing.js';
import { refuseOtherEnding } from '../conversion/refuse-other-ending.js';
import { InterruptedError } from '../interrupted-error.js';
import { openModel } from '../open-model.js';

export interface ImatrixOptions extends CalibrationFlags {
  readonly json?: boolean;
}

/** `q imatrix MODEL OUT`: an importance matrix that llama-quantize and `q convert` read; OUT.dat in the older form. */
export async function imatrixCommand(
  path: string,
  out: string,
  options: ImatrixOptions,
  context: CommandContext,
): Promise<void> {
  refuseOtherEnding(out, ['.gguf', '.dat'], '.gguf is the form of today, .dat the one for older programs');
  await refuseExisting(path, out, context.files);
  const checkpoint = await openModel(path, context.vocabulary);
  try {
    const converted = convertModel(await conversionSource(checkpoint));
    const { terminal, files } = context;
    for (const note of checkpoint.notes) terminal.note(`note: ${path}: ${note}`);
    const data = await lockedOutput(out, files, async () => {
      await refuseExisting(path, out, files);
      const collected = await collectImportance(checkpoint, converted, options, context);
      await writeFileDurably(out, writeImportance(collected, /\.dat$/i.test(out)), { files });
      return collected;
    });
    if (options.json) terminal.printJson({ model: path, output: out, matrices: data.sums.size, chunks: data.chunks });
    else terminal.print(`${out}: weights of ${data.sums.size} matrices from ${data.chunks} windows`);
  } catch (error) {
    if (context.signal.aborted) throw new InterruptedError('Interrupted. Nothing was left behind.');
    throw error;
  } finally {
    await checkpoint.close();
  }
}

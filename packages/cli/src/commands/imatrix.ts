import { writeFile } from 'node:fs/promises';
import { conversionSource } from '@q/checkpoint';
import { convertModel, writeImportance } from '@q/gguf';
import type { CommandContext } from '../command.js';
import { type CalibrationFlags, collectImportance } from '../conversion/calibrate-blocks.js';
import { refuseExisting } from '../conversion/refuse-existing.js';
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
  await refuseExisting(path, out, context.files);
  const checkpoint = await openModel(path, context.vocabulary);
  try {
    const converted = convertModel(await conversionSource(checkpoint));
    const data = await collectImportance(checkpoint, converted, options, context);
    await writeFile(out, writeImportance(data, out.endsWith('.dat')));
    const { terminal } = context;
    if (options.json) terminal.printJson({ model: path, output: out, matrices: data.sums.size, chunks: data.chunks });
    else terminal.print(`${out}: weights of ${data.sums.size} matrices from ${data.chunks} windows`);
  } finally {
    await checkpoint.close();
  }
}

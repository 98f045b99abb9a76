import { readFile } from 'node:fs/promises';
import { checkVocabulary, textLines, textSequences } from '@q/calib';
import { readSentenceModules } from '@q/checkpoint';
import { embedSequences } from '@q/eval';
import { inputExecution } from '@q/execution';
import { meanOfTokens } from '@q/models';
import type { CommandContext } from '../command.js';
import { createCompute } from '../engine.js';
import { openModel } from '../open-model.js';
import { openTokenizer, parseDocuments } from '../texts.js';
import { UsageError } from '../usage-error.js';

export interface EmbedOptions {
  readonly text?: string;
  readonly length?: number;
  readonly engine?: string;
  readonly threads?: number;
  readonly kernels?: string;
  readonly json?: boolean;
}

/** The engine gets texts with at most as many tokens as this many full sequences. */
const batch = 8;

/** `q embed MODEL --text LINES.txt`: a vector for each line, pooled as in the folder's `modules.json`. */
export async function embedCommand(
  path: string,
  options: EmbedOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const { text } = options;
  if (text === undefined) throw new UsageError('--text FILE is needed: one text a line');
  const checkpoint = await openModel(path, vocabulary);
  const compute = await createCompute(options);
  try {
    const { model } = checkpoint;
    if (!model) throw checkpoint.unknownArchitecture as Error;
    for (const note of checkpoint.notes) terminal.note(`note: ${path}: ${note}`);
    const modules = (await readSentenceModules(path)) ?? meanOfTokens;
    const bytes = await readFile(text).catch((error) => {
      throw new UsageError(`${text}: the text cannot be read (${error.code ?? error.message})`);
    });
    const longest = Math.min(options.length ?? modules.maxLength ?? model.maxPositions, model.maxPositions);
    const lines = textLines(parseDocuments(text, bytes));
    const sequences = textSequences(lines, await openTokenizer(path), longest, text);
    checkVocabulary(sequences, model.vocabularySize, text);
    const engine = await compute.forward(model);
    try {
      const execution = await inputExecution(checkpoint, compute.kernels);
      if (execution) terminal.note(`${path}: ${execution.note}`);
      const run = { batch, progress: terminal.progress, signal, task: 'embed' };
      const weight = (name: string) => checkpoint.weight(name);
      const { values, count, width } = await embedSequences(model, engine, weight, sequences, {
        ...{ ...run, modules },
        ...(execution ? { wrap: execution.wrap } : {}),
      });
      const embeddings = Array.from({ length: count }, (_, i) => [...values.subarray(i * width, (i + 1) * width)]);
      if (options.json) terminal.printJson({ embeddings, width, pooling: modules.name, model: path });
      else for (const vector of embeddings) terminal.print(vector.map((value) => value.toPrecision(7)).join(' '));
    } finally {
      await engine.dispose();
    }
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

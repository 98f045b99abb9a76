import type { CommandContext, FlagValues } from '../command.js';
import { ggufTarget } from '../conversion/gguf-target.js';
import { onnxTarget } from '../conversion/onnx-target.js';
import { conversionTargets } from '../conversion/targets.js';
import { UsageError } from '../usage-error.js';

/** Options of all targets, with the flags of recipes. */
export interface ConvertOptions extends FlagValues {
  readonly to?: string;
  readonly type?: string;
  readonly within?: string;
  readonly output?: string;
  readonly embeddings?: string;
  readonly imatrix?: string;
  readonly calib?: string;
  readonly method?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly engine?: string;
  readonly preTokenizer?: string;
  readonly requantize?: boolean;
  readonly portable?: boolean;
  readonly context?: number;
  readonly maxTensor?: number;
  /** Address of the queue whose workers encode, and the store of the run. */
  readonly queue?: string;
  readonly store?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** A kind of output of `q convert`. */
export interface ConversionTarget {
  readonly name: (typeof conversionTargets)[number];
  run(model: string, out: string, options: ConvertOptions, context: CommandContext): Promise<void>;
}

const targets: readonly ConversionTarget[] = [ggufTarget, onnxTarget];

/** `q convert MODEL OUT --to TARGET`: writes a model folder as a file of another runtime. */
export async function convertCommand(
  model: string,
  out: string,
  options: ConvertOptions,
  context: CommandContext,
): Promise<void> {
  const target = targets.find(({ name }) => name === options.to);
  if (!target) throw new UsageError(`--to is missing: one of ${conversionTargets.join(', ')}`);
  await target.run(model, out, options, context);
}

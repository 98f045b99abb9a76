import type { CommandDeclaration } from './command.js';
import { cast } from './command-line/cast.js';
import { convert } from './command-line/convert.js';
import { embed } from './command-line/embed.js';
import { engineList, engineSetup } from './command-line/engine.js';
import { evaluate } from './command-line/evaluate.js';
import { finetune } from './command-line/finetune.js';
import { generate } from './command-line/generate.js';
import { gguf } from './command-line/gguf.js';
import { imatrix } from './command-line/imatrix.js';
import { inspect } from './command-line/inspect.js';
import { onnx } from './command-line/onnx.js';
import { plan } from './command-line/plan.js';
import { quantize } from './command-line/quantize.js';
import { schema } from './command-line/schema.js';
import { start } from './command-line/start.js';
import { studyLocalGlobal } from './command-line/study.js';
import { worker } from './command-line/worker.js';

/** Every command, in the order of the help. A new one is a file in `command-line/` and an entry here. */
export const commands: readonly CommandDeclaration[] = [
  plan,
  quantize,
  finetune,
  evaluate,
  generate,
  embed,
  inspect,
  gguf,
  cast,
  convert,
  onnx,
  imatrix,
  engineList,
  engineSetup,
  studyLocalGlobal,
  worker,
  start,
  schema,
];

/** Words that commands begin with when several share one, and what they are about. */
export const commandGroups: Readonly<Record<string, string>> = {
  engine: 'what computes: list the engines, set one up',
  study: 'what methods and losses do to a model',
};

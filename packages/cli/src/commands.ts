import type { CommandEntry } from './command.js';

/**
 * Every command, in the order of the help: its text in the help of `q`, and the file of its options, which is loaded
 * when the command is called. A new command is a file in `command-line/` and an entry here.
 */
export const commands: readonly CommandEntry[] = [
  {
    name: 'plan',
    summary: 'print the plan for every tensor',
    arguments: [['<model>', 'model folder or .gguf file']],
    load: async () => (await import('./command-line/plan.js')).plan,
  },
  {
    name: 'quantize',
    summary: 'write a smaller model',
    arguments: [
      ['<model>', 'model folder or .gguf file'],
      ['<out>', 'folder to write'],
    ],
    resumes: true,
    load: async () => (await import('./command-line/quantize.js')).quantize,
  },
  {
    name: 'finetune',
    summary: 'train an adapter, or the scales of a task, and leave the weights as they are',
    arguments: [
      ['<model>', 'model folder; for peqa a quantized one'],
      ['<out>', 'folder to write the adapter or the task to'],
    ],
    resumes: true,
    load: async () => (await import('./command-line/finetune.js')).finetune,
  },
  {
    name: 'eval',
    summary: 'perplexity, and KL divergence to another model',
    arguments: [['<model>', 'model folder or .gguf file']],
    load: async () => (await import('./command-line/evaluate.js')).evaluate,
  },
  {
    name: 'generate',
    summary: 'write text with a model, token by token',
    arguments: [['<model>', 'model folder or .gguf file']],
    load: async () => (await import('./command-line/generate.js')).generate,
  },
  {
    name: 'embed',
    summary: 'embeddings of the lines of a text',
    arguments: [['<model>', 'model folder or .gguf file']],
    load: async () => (await import('./command-line/embed.js')).embed,
  },
  {
    name: 'inspect',
    summary: 'list every tensor, its scheme and bytes',
    arguments: [['<path>', 'model folder, .safetensors or .gguf file']],
    load: async () => (await import('./command-line/inspect.js')).inspect,
  },
  {
    name: 'gguf',
    summary: "quantize a GGUF file, to the same bytes as llama.cpp's quantizer",
    arguments: [
      ['<in>', 'GGUF file in F32, F16 or BF16'],
      ['[out]', 'GGUF file to write'],
    ],
    load: async () => (await import('./command-line/gguf.js')).gguf,
  },
  {
    name: 'cast',
    summary: 'write a model in another floating-point dtype',
    arguments: [
      ['<model>', 'model folder that is not quantized'],
      ['<out>', 'folder to write'],
    ],
    load: async () => (await import('./command-line/cast.js')).cast,
  },
  {
    name: 'convert',
    summary: 'make a file that another runtime loads',
    arguments: [
      ['<model>', 'model folder or .gguf file'],
      ['<out>', 'file or folder to write'],
    ],
    resumes: true,
    load: async () => (await import('./command-line/convert.js')).convert,
  },
  {
    name: 'onnx',
    summary: 'quantize the matrices of any ONNX file, without data',
    arguments: [
      ['<in>', 'ONNX file in floats'],
      ['<out>', 'ONNX file to write'],
    ],
    load: async () => (await import('./command-line/onnx.js')).onnx,
  },
  {
    name: 'imatrix',
    summary: "collect an importance matrix, for q convert, q gguf and llama.cpp's quantizer",
    arguments: [
      ['<model>', 'model folder or .gguf file'],
      ['<out>', 'file to write: .gguf, or .dat for older programs'],
    ],
    load: async () => (await import('./command-line/imatrix.js')).imatrix,
  },
  {
    name: 'engine list',
    summary: 'engines, whether they start here, and how fast they multiply',
    arguments: [],
    load: async () => (await import('./command-line/engine.js')).engineList,
  },
  {
    name: 'engine setup',
    summary: 'install the native engine: downloads 315 MB, takes 1.2 GB of the cache folder',
    arguments: [['<name>', 'tfjs-node']],
    load: async () => (await import('./command-line/engine.js')).engineSetup,
  },
  {
    name: 'study local-global',
    summary: 'compare layer-wise methods with training on the end loss, from 8 to 2 bits',
    arguments: [
      ['<model>', 'model folder'],
      ['<out>', 'folder for study.html, study.json and study.csv; run again, a study goes on'],
    ],
    resumes: true,
    load: async () => (await import('./command-line/study.js')).studyLocalGlobal,
  },
  {
    name: 'worker',
    summary: 'work for q quantize --queue on this machine, until it is interrupted',
    arguments: [['<queue>', 'redis://, rediss:// or postgres:// address of the queue']],
    load: async () => (await import('./command-line/worker.js')).worker,
  },
  {
    name: 'start',
    summary: 'quantize the embedded demo model',
    arguments: [],
    load: async () => (await import('./command-line/start.js')).start,
  },
  {
    name: 'schema',
    summary: 'print the JSON Schema of recipe files, for editors',
    arguments: [],
    load: async () => (await import('./command-line/schema.js')).schema,
  },
];

/** First words that several commands share, with a description. */
export const commandGroups: Readonly<Record<string, string>> = {
  engine: 'engines: list them, set one up',
  study: 'studies of methods and losses',
};

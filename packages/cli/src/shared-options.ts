/** Options that several commands take. */
import { boolean, choice, integer, text } from '@q/core';

export const jsonOption = {
  /** Whether results are one JSON object. */
  json: boolean({ help: 'Print one JSON object on standard output and nothing else there.' }),
};

export const computeOptions = {
  /** The engine that runs and trains models. */
  engine: choice(['auto', 'wasm', 'cpu', 'node', 'node-bf16'], {
    default: 'auto',
    help: 'Engine that runs and trains models',
  }),
  /** The kernels for Hessians, the sweep and products. */
  kernels: choice(['wasm', 'webgpu'], { default: 'wasm', help: 'Kernels for Hessians, the sweep and products' }),
  /** Threads of the kernels. */
  threads: integer({ min: 1, otherwise: 'the cores, at most 8', help: 'Threads of the kernels.' }),
};

export const textFile = (help: string) => text({ placeholder: 'file', help });

/** The address of weights and results in a distributed run. */
export const storeOption = (otherwise: string) =>
  text({
    placeholder: 'folder',
    otherwise,
    help: 'With --queue, the place for weights and results: a folder that all machines can read, or s3://bucket/prefix.',
  });

export const budgetOptions = {
  /** How a budget measures the loss of each module at each width. */
  sensitivities: choice(['one-pass', 'walk'], {
    otherwise: 'one-pass; walk for models with experts',
    help: 'With --budget, estimate the loss of each module from one pass of gradients, or run the model for each width',
  }),
};

export const calibrationOptions = {
  /** Windows of text for calibration or training. */
  samples: integer({ min: 1, default: 128, help: 'Windows of the text for calibration or training.' }),
  /** Tokens of a window. */
  length: integer({ min: 2, default: 256, help: 'Tokens of a window.' }),
};

/** The text that is scored before and after. */
export const heldOutOptions = {
  /** Text to score. */
  evalText: textFile('Text to score before and after; by default the windows after those for calibration or training.'),
  /** Windows to score. */
  windows: integer({ min: 1, otherwise: '32, or all of --eval-text', help: 'Windows to score.' }),
  /** Whether anything is scored. */
  eval: boolean({ default: true, help: 'Score before and after.' }),
  /** Whether windows are drawn at random. */
  shuffle: boolean({ help: 'Draw the windows at random instead of taking the first ones.' }),
};

import { QuantError } from '@q/core';
import type { FileSystem } from '@q/durable-files';
import { Command, CommanderError } from 'commander';
import { InterruptedError } from './interrupted-error.js';
import { fineTuners, fits, ggufFormats, ggufMixes, layouts, methods } from './registry.js';
import { createTerminal, type Streams } from './terminal.js';
import { version } from './version.js';

/** Options that make a recipe, on every command that takes one. */
function withRecipe(command: Command): Command {
  return command
    .option('--recipe <file>', 'recipe as JSON or YAML; options given beside it win')
    .option('--method <name>', `${Object.keys(methods).join(', ')} (default gptq)`)
    .option('--bits <n>', 'bits of a weight, 2 to 8 (default 4)')
    .option('--group <n>', 'columns that share a scale; -1: one scale per output channel (default 128)')
    .option('--sym', 'symmetric: no zero points')
    .option('--asym', 'asymmetric: a zero point with each scale (default)')
    .option('--act-order', 'gptq: round the columns with the largest inputs first (default)')
    .option('--no-act-order', 'gptq: round columns in their order')
    .option('--static-groups', 'gptq: with act-order, fix the grids of the original groups beforehand (default)')
    .option('--no-static-groups', 'gptq: with act-order, let groups follow the order of rounding')
    .option(
      '--importance <kind>',
      'weights of the columns when grids are fitted; gptq: diagonal (default), conditional, reference, none; rtn: none (default), diagonal',
    )
    .option('--retarget <share>', "gptq: 0 to 1, how much of the earlier layers' errors is corrected (default 1)")
    .option('--no-residual', 'gptq: do not correct the error of the residual stream')
    .option('--refine-rounds <n>', 'gptq: rounds of scale refit and coordinate descent after the sweep (default 3)')
    .option('--alpha <share>', 'smoothquant: 0 to 1, how much is moved into the weights, or search (default 0.5)')
    .option('--level <name>', 'smoothquant: o1, o2, o3 or per-channel (default per-channel)')
    .option('--threshold <x>', 'llm-int8: columns with a magnitude from here on stay in f32; 0: none (default 6)')
    .option('--damping <share>', 'gptq: added to the Hessian, as a share of its mean diagonal (default 0.01)')
    .option('--fit <rule>', `how scales are fitted (${Object.keys(fits).join(', ')}; default weightedSearch)`)
    .option(
      '--objective <kind>',
      'awq: judge scales by the linears (layer, default) or by the whole attention or MLP (module)',
    )
    .option('--clip', 'awq: also search a clamping range for each group (default)')
    .option('--no-clip', 'awq: only scale')
    .option('--steps <n>', 'signround: steps of each block (default 200)')
    .option(
      '--loss <kind>',
      'qaft, peqa: teacher (the unquantized model; default of qaft) or labels (the text; default of peqa)',
    )
    .option(
      '--epochs <n>',
      'training: passes over the calibration windows (default: qaft and llm-qat 20, efficient-qat 10, peqa 5)',
    )
    .option('--batch <n>', 'training: windows a step (default 8)')
    .option('--rate <x>', 'training: peak learning rate, of the weights or of what is trained in their place')
    .option('--held-out <n>', 'training: windows held out; it stops when their loss rises (default 0)')
    .option(
      '--input-bits <n>',
      'llm-qat: bits of the inputs of linears while training, 2 to 8, or 16: none (default 16)',
    )
    .option('--cache-bits <n>', 'llm-qat: bits of the key-value cache while training, 2 to 8, or 16: none (default 16)')
    .option('--checkpointing', 'training: run blocks twice in place of keeping their activations')
    .option(
      '--memory <bytes>',
      'what a run may take: beyond, activations wait on the disk, and a training is refused (default: what the machine has)',
    )
    .option('--keep <pattern...>', 'linears to leave as they are; * stands for any characters')
    .option(
      '--rule <rule...>',
      "settings of some linears: 'PATTERN=bits:3,group:64' or 'PATTERN=keep'; the first rule that matches wins",
    )
    .option('--budget <size>', 'choose the bits of each layer: bits per weight (3.0), or bytes of all tensors (900MB)')
    .option('--candidate-bits <list>', 'with --budget: widths to choose from (default: all that the layout holds)')
    .option('--sensitivity <file>', 'with --budget: keep what was measured here, and use it again')
    .option(
      '--expert-tokens <n>',
      'calibration tokens that an expert needs, with fewer it is rounded to nearest (default 64)',
    )
    .option(
      '--format <layout>',
      `layout of the written folder: ${Object.keys(layouts).join(', ')} (default: by the method)`,
    )
    .option('--format-version <v>', 'gptq: 1, 2 or auto (default: 1 when symmetric, else 2)')
    .option('--max-shard <bytes>', 'largest weight file (default 5e9)')
    .option('--adapter <folder>', 'merge this adapter of PEFT into the weights first')
    .option('--rotate', 'rotate the residual stream and the heads first: spreads outlier channels, keeps the function')
    .option('--seed <n>', 'seed of everything random (default 0)')
    .option('--samples <n>', 'calibration windows (default 128)')
    .option('--length <n>', 'tokens of a window (default 256)')
    .option('--json', 'print one JSON object on standard output and nothing else there');
}

function withCompute(command: Command): Command {
  return command
    .option('--engine <name>', 'auto, wasm, cpu or node (default auto)')
    .option('--kernels <name>', 'wasm or webgpu: what computes Hessians, the sweep and products (default wasm)')
    .option('--threads <n>', 'threads of the kernels (default: the cores, at most 8)');
}

/**
 * Runs the command line. Each command loads what it needs when it is called: most of them need little, and start at once.
 * @param files that outputs are written through; the machine's own when absent
 * @returns the exit code: 0, 1 for anything that went wrong, 130 when interrupted
 */
export async function main(
  argv: readonly string[],
  streams: Streams,
  signal: AbortSignal,
  files?: FileSystem,
): Promise<number> {
  const terminal = createTerminal(streams);
  const program = new Command('q');
  program
    .description('Makes language models smaller: plan, quantize, evaluate, inspect.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => streams.out.write(text), writeErr: (text) => streams.err.write(text) })
    .showSuggestionAfterError()
    .enablePositionalOptions();

  withCompute(
    withRecipe(
      program.command('plan').argument('<model>', 'model folder').description('show what would happen to every tensor'),
    ),
  )
    .option('--calib <file>', 'with --budget: text to measure on')
    .action(async (model, options) => {
      const { planCommand } = await import('./commands/plan.js');
      await planCommand(model, options, terminal, signal);
    });
  withCompute(
    withRecipe(
      program
        .command('quantize')
        .argument('<model>', 'model folder')
        .argument('<out>', 'folder to write')
        .description('write a smaller model'),
    ),
  )
    .option('--calib <file>', 'calibration text, JSON Lines, .u16 token ids, or self: the model writes it')
    .option('--shuffle', 'draw the calibration windows at random in place of the first ones')
    .option('--eval-text <file>', 'text to score before and after (default: held-out windows of the calibration text)')
    .option('--max-kl <x>', 'exit with 1 when the KL divergence to the original is above this, in nats per token')
    .option('--windows <n>', 'windows to score')
    .option('--no-eval', 'do not score')
    .option('--yes', 'accepted for scripts: nothing is asked')
    .action(async (model, out, options) => {
      const { quantizeCommand } = await import('./commands/quantize.js');
      await quantizeCommand(model, out, options, terminal, signal, files);
    });
  withCompute(
    program
      .command('finetune')
      .argument('<model>', 'model folder; for peqa a quantized one')
      .argument('<out>', 'folder to write the adapter or the task to')
      .description('teach a model a text beside its weights: an adapter, or the scales of a task'),
  )
    .option('--method <name>', `${Object.keys(fineTuners).join(', ')} (default qlora)`)
    .option('--text <file>', 'text to learn, JSON Lines, or .u16 token ids')
    .option('--samples <n>', 'windows of it (default 128)')
    .option('--length <n>', 'tokens of a window (default 256)')
    .option('--shuffle', 'draw the windows at random in place of the first ones')
    .option('--rank <n>', 'qlora, lora: rank of the factors (default 16)')
    .option('--alpha <x>', 'qlora, lora: their product is scaled by alpha / rank (default 16)')
    .option('--dropout <share>', 'qlora, lora: share of the inputs that training drops (default 0.05)')
    .option('--epochs <n>', 'passes over the windows (default: qlora and lora 3, peqa 5)')
    .option('--batch <n>', 'windows a step (default 8)')
    .option('--rate <x>', 'peak learning rate (default: qlora and lora 2e-4, peqa 1e-4)')
    .option('--held-out <n>', 'windows held out of the training, the best epoch on them is kept (default 0)')
    .option('--checkpointing', 'run blocks twice in place of keeping their activations (default: qlora and lora)')
    .option('--no-checkpointing', 'keep the activations of all blocks')
    .option('--memory <bytes>', 'refuse when it is predicted to need more (default: what the machine has)')
    .option('--seed <n>', 'seed of everything random (default 0)')
    .option('--eval-text <file>', 'text to score before and after (default: the windows behind those of the training)')
    .option('--windows <n>', 'windows to score (default 32, or all of --eval-text)')
    .option('--no-eval', 'do not score')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (model, out, options) => {
      const { fineTuneCommand } = await import('./commands/finetune.js');
      await fineTuneCommand(model, out, options, terminal, signal, files);
    });
  withCompute(
    program
      .command('eval')
      .argument('<model>', 'model folder')
      .description('perplexity, and KL divergence to another model'),
  )
    .option('--adapter <folder>', 'score the model with this adapter of PEFT, or this task of q finetune --method peqa')
    .option('--against <model>', 'the original, for KL divergence')
    .option('--text <file>', 'text to score, JSON Lines, or .u16 token ids')
    .option('--length <n>', 'tokens of a window (default 256)')
    .option('--windows <n>', 'windows to score (default: all)')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (model, options) => {
      const { evalCommand } = await import('./commands/evaluate.js');
      await evalCommand(model, options, terminal, signal);
    });
  program
    .command('inspect')
    .argument('<path>', 'model folder, .safetensors or .gguf file')
    .description('list every tensor, its scheme and bytes')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (path, options) => {
      const { inspectCommand } = await import('./commands/inspect.js');
      await inspectCommand(path, options, terminal);
    });
  program
    .command('gguf')
    .argument('<in>', 'GGUF file in F32, F16 or BF16')
    .argument('[out]', 'GGUF file to write')
    .description("quantize a GGUF file, to the same bytes as llama.cpp's quantizer")
    .option('--type <name>', `what matrices become: ${Object.keys({ ...ggufFormats, ...ggufMixes }).join(', ')}`)
    .option('--output <name>', 'what the output layer becomes: one type, keep, or like-llama (default: q6_k, or more)')
    .option('--embeddings <name>', 'what the embeddings become: one type, or keep (default: as --type)')
    .option('--plan', 'say what would happen to every tensor, and write nothing')
    .option('--threads <n>', 'threads of the kernels (default: the cores, at most 8)')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (input, output, options) => {
      const { ggufCommand } = await import('./commands/gguf.js');
      await ggufCommand(input, output, options, terminal, signal, files);
    });
  const engine = program.command('engine').description('what computes: list the engines, set one up');
  engine
    .command('list')
    .description('engines, whether they start here, and how fast they multiply')
    .option('--threads <n>', 'threads of the kernels and of the native engine (default: the cores)')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (options) => {
      const { engineListCommand } = await import('./commands/engine.js');
      await engineListCommand(options, terminal, signal);
    });
  engine
    .command('setup')
    .argument('<name>', 'tfjs-node')
    .description('get the native engine: downloads 315 MB, takes 1.2 GB of the cache folder')
    .option('--force', 'set up again, whatever is there')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (name, options) => {
      const { engineSetupCommand } = await import('./commands/engine.js');
      await engineSetupCommand(name, options, terminal, signal);
    });
  program
    .command('start')
    .description('quantize the embedded demo model')
    .option('--json', 'print one JSON object on standard output and nothing else there')
    .action(async (options) => {
      const { startCommand } = await import('./commands/start.js');
      await startCommand(options, terminal, signal);
    });

  // A script that asked for JSON finds one object on standard output whatever happens.
  const json = argv.includes('--json');
  try {
    await program.parseAsync(argv as string[], { from: 'user' });
    return 0;
  } catch (error) {
    terminal.done();
    if (error instanceof CommanderError) {
      if (json && error.exitCode !== 0) terminal.printJson({ error: error.message.replace(/^error: /, '') });
      return error.exitCode;
    }
    if (signal.aborted) {
      terminal.note(
        error instanceof InterruptedError
          ? error.message
          : 'Interrupted. The same command goes on where this one stopped.',
      );
      if (json) terminal.printJson({ error: 'interrupted' });
      return 130;
    }
    const text = message(error);
    terminal.note(`error: ${text}`);
    if (process.env.Q_DEBUG) terminal.note((error as Error).stack ?? '');
    if (json) terminal.printJson({ error: text });
    return 1;
  }
}

/** What a person is told. An error that is not ours is a defect: say so, without a stack trace. */
function message(error: unknown): string {
  if (error instanceof QuantError) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  const code = (error as NodeJS.ErrnoException)?.code;
  return code ? text : `unexpected: ${text} (set Q_DEBUG=1 to see where)`;
}

import { boolean, integer, number, text } from '@q/core';
import { command } from '../command.js';
import { preferMemory } from '../prefer-memory.js';
import { computeOptions, jsonOption } from '../shared-options.js';

export const generate = command({
  options: {
    prompt: text({
      placeholder: 'text',
      help: 'Text that the model continues, or with --chat the message of the user.',
    }),
    chat: boolean({ help: "Put the prompt into the model's chat template." }),
    system: text({ placeholder: 'text', help: 'With --chat, the system message.' }),
    tokens: integer({ min: 1, default: 128, help: 'Largest number of tokens to write.' }),
    greedy: boolean({
      help: 'Take the most likely token each time. Excludes --temperature, --top-k, --top-p and --seed.',
    }),
    temperature: number({
      min: 0,
      default: 1,
      help: 'Divides the logits before a token is drawn; 0 is the same as --greedy.',
    }),
    topK: integer({ min: 1, otherwise: 'all', help: 'Draw only from this many most likely tokens.' }),
    topP: number({
      above: 0,
      max: 1,
      default: 1,
      help: 'Draw only from the most likely tokens with this share of the probability.',
    }),
    seed: integer({ min: 0, default: 0, help: 'Same seed, same text.' }),
    adapter: text({
      placeholder: 'folder',
      help: 'Run the model with this adapter of PEFT, or this task of q finetune --method peqa.',
    }),
    cache: text({
      placeholder: 'scheme',
      otherwise: 'f32',
      help: 'Quantize keys and values: int8, int4, kivi2,rotate,window=64, or static (scales of the folder).',
    }),
    engine: computeOptions.engine,
    threads: computeOptions.threads,
    ...jsonOption,
  },
  async run([model], options, context) {
    preferMemory();
    const { generateCommand } = await import('../commands/generate.js');
    await generateCommand(model, options, context);
  },
});

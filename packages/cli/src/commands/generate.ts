import { languageModel } from '@q/core';
import {
  chatPrompt,
  createSampler,
  createTextStream,
  findChatTemplate,
  generate,
  inputExecution,
  loadModel,
  mostLikely,
  stopTokens,
} from '@q/execution';
import type { Tokenizer } from '@q/models';
import { adaptedWeights } from '../adapter-option.js';
import { cacheOf } from '../cache-option.js';
import type { CommandContext } from '../command.js';
import { refuseUnused } from '../conversion/refuse-unused.js';
import { createCompute } from '../engine.js';
import { openModel } from '../open-model.js';
import { packedSource, valueSource } from '../packed-source.js';
import { openTokenizer, readModelJson, readModelText } from '../texts.js';
import { UsageError } from '../usage-error.js';

export interface GenerateCommandOptions {
  readonly prompt?: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly tokens?: number;
  readonly greedy?: boolean;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly adapter?: string;
  readonly cache?: string;
  readonly engine?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** `q generate MODEL --prompt TEXT`: continues the prompt, and shows the text as it is written. */
export async function generateCommand(
  path: string,
  options: GenerateCommandOptions,
  { terminal, signal, vocabulary }: CommandContext,
): Promise<void> {
  const { prompt, tokens = 128, json = false } = options;
  if (prompt === undefined) throw new UsageError('--prompt TEXT is needed: the text that the model continues');
  if (options.system !== undefined && !options.chat) throw new UsageError('--system needs --chat');
  refuseUndrawn(options);
  const checkpoint = await openModel(path, vocabulary);
  const compute = await createCompute(options);
  try {
    if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
    const model = languageModel(checkpoint.model, `q generate ${path}`);
    for (const note of checkpoint.notes) terminal.note(`note: ${path}: ${note}`);
    const cache = options.cache === undefined ? undefined : await cacheOf(options.cache, model, checkpoint);
    const tokenizer = await openTokenizer(path);
    const ids = await promptIds(path, tokenizer, prompt, options);
    const stop = stopTokens(await readModelJson(path, 'generation_config.json'), checkpoint.config);
    const engine = await compute.generation();
    const source = options.adapter
      ? valueSource(await adaptedWeights(options.adapter, checkpoint))
      : packedSource(checkpoint);
    try {
      const execution = options.adapter ? undefined : await inputExecution(checkpoint, compute.kernels);
      if (execution) terminal.note(`${path}: ${execution.note}`);
      const loaded = await loadModel(model, engine, source);
      if (loaded.packed.length + loaded.decoded.length > 0 && !execution)
        terminal.note(`${loaded.packed.length} quantized linears stay packed, ${loaded.decoded.length} run as f32`);
      const runtime = execution ? await execution.wrap(loaded.runtime, [...model.expected.keys()]) : loaded.runtime;
      const sampler = options.greedy ? mostLikely : createSampler(options);
      const text = createTextStream(tokenizer, ids);
      const written: number[] = [];
      let result = '';
      const show = (part: string) => {
        result += part;
        if (!json) terminal.write(part);
      };
      let [first, last] = [0, 0];
      for await (const id of generate(model, runtime, ids, { tokens, sampler, stop, signal, ...cache?.decoder })) {
        last = performance.now();
        if (written.length === 0) first = last;
        written.push(id);
        if (!stop.has(id)) show(text.push(id));
      }
      show(text.end());
      loaded.dispose();
      // The first token comes from the pass over the prompt, so it is not counted.
      const tokensPerSecond = written.length > 1 ? (1000 * (written.length - 1)) / (last - first) : null;
      if (json)
        terminal.printJson({
          text: result,
          ids: written,
          tokensPerSecond,
          promptTokens: ids.length,
          cacheBytes: cache?.bytes(ids.length + written.length) ?? null,
        });
      else {
        terminal.print('');
        if (tokensPerSecond !== null) terminal.note(`${tokensPerSecond.toFixed(1)} tokens a second`);
      }
    } finally {
      await engine.dispose();
    }
  } finally {
    await compute.dispose();
    await checkpoint.close();
  }
}

/**
 * Refuses options of the draw when no token is drawn.
 * @throws UsageError naming the option
 */
function refuseUndrawn(options: GenerateCommandOptions): void {
  const { greedy, temperature } = options;
  const why = (flag: string) =>
    `has no effect with ${flag}, which takes the most likely token each time: leave one of them out`;
  if (greedy) refuseUnused({ ...options }, ['temperature', 'topK', 'topP', 'seed'], why('--greedy'));
  if (temperature === 0) refuseUnused({ ...options }, ['topK', 'topP', 'seed'], why('--temperature 0'));
}

/**
 * Ids of the prompt with the opening tokens of a text, or of the chat template, which has all of its special tokens.
 */
async function promptIds(
  path: string,
  tokenizer: Tokenizer,
  prompt: string,
  { chat, system }: GenerateCommandOptions,
): Promise<readonly number[]> {
  if (!chat) return [...tokenizer.opening, ...tokenizer.encode(prompt)];
  const config = (await readModelJson(path, 'tokenizer_config.json')) ?? {};
  const template = findChatTemplate(await readModelText(path, 'chat_template.jinja'), config);
  if (template === undefined)
    throw new UsageError(
      `${path}: has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): leave out --chat`,
    );
  const messages = [
    ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
    { role: 'user' as const, content: prompt },
  ];
  return tokenizer.encode(chatPrompt(template, messages, config));
}

import { Template } from '@huggingface/jinja';
import { FormatError } from '@q/core';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** The parts of `tokenizer_config.json` that chat templates are given. */
export type TokenizerConfig = Readonly<Record<string, unknown>>;

/**
 * A conversation as the model was trained to read it, up to where the assistant begins.
 * @param template text of `chat_template.jinja`, or what `tokenizer_config.json` has below `chat_template`
 * @throws FormatError when the template cannot be read or refuses the messages
 */
export function chatPrompt(template: string, messages: readonly ChatMessage[], config: TokenizerConfig = {}): string {
  const tokens = Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) => {
      const text = key.endsWith('_token') ? tokenText(value) : undefined;
      return text === undefined ? [] : [[key, text]];
    }),
  );
  try {
    return new Template(template).render({ ...tokens, messages: [...messages], add_generation_prompt: true });
  } catch (error) {
    throw new FormatError(`the chat template cannot be used: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * The template of a model folder: `chat_template.jinja`, or the `chat_template` of `tokenizer_config.json`, of several the one
 * named `default`. Nothing when the folder has none.
 */
export function findChatTemplate(file: string | undefined, config: TokenizerConfig): string | undefined {
  if (file !== undefined) return file;
  const entry = config['chat_template'];
  if (typeof entry === 'string') return entry;
  if (!Array.isArray(entry)) return undefined;
  const templates = entry as readonly { readonly name?: unknown; readonly template?: unknown }[];
  const { template } = templates.find(({ name }) => name === 'default') ?? {};
  return typeof template === 'string' ? template : undefined;
}

/** Tokens are text, or objects that hold it. */
function tokenText(value: unknown): string | undefined {
  const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof text === 'string' ? text : undefined;
}

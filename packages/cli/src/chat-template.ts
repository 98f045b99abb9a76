import type { ChatFormat } from '@q/calib';
import { openModelFiles } from '@q/checkpoint';
import { FormatError } from '@q/core';

/** File of a template; the order of the search is that of transformers. */
const templateFile = 'chat_template.jinja';
const configFile = 'tokenizer_config.json';

/** Templates that write the current date get this one, so the same conversations give the same text on every day. */
const date: Readonly<Record<string, string>> = { d: '26', m: '07', b: 'Jul', B: 'July', Y: '2024', y: '24' };

/**
 * The chat template of a model folder: `chat_template.jinja`, or `chat_template` of `tokenizer_config.json` (the one
 * called `default` if there are several). A BOS token at the start of its output is removed if the tokenizer puts one
 * before every text.
 * @param framed whether the tokenizer puts BOS before every text
 * @throws FormatError when the folder has none, or it cannot be read
 */
export async function openChatTemplate(model: string, framed: boolean): Promise<ChatFormat> {
  const files = await openModelFiles(model);
  const config = ((await files.json(configFile)) ?? {}) as Record<string, unknown>;
  const file = await files.text(templateFile);
  const source = file ?? templateIn(config);
  if (source === undefined)
    throw new FormatError(
      `${model}: has no chat template (${templateFile}, or chat_template in ${configFile}): conversations have no text without one; give texts`,
    );
  const name = files.where(file === undefined ? configFile : templateFile);
  const { Template } = await import('@huggingface/jinja');
  const explain = (error: unknown) =>
    new FormatError(`${name}: the chat template cannot be used: ${error instanceof Error ? error.message : error}`);
  let template: InstanceType<typeof Template>;
  try {
    // The template replaces the library's own `strftime_now`, because it cannot be passed a second time. The line end
    // is not written.
    template = new Template(`{% set strftime_now = dated %}\n${source}`);
  } catch (error) {
    throw explain(error);
  }
  const tokens = specialTokens(config);
  return (messages) => {
    let text: string;
    try {
      const dated = (format: string) => format.replace(/%([a-zA-Z])/g, (all, key: string) => date[key] ?? all);
      text = template.render({ ...tokens, dated, messages, add_generation_prompt: false });
    } catch (error) {
      throw explain(error);
    }
    const bos = tokens['bos_token'];
    return framed && bos && text.startsWith(bos) ? text.slice(bos.length) : text;
  };
}

function templateIn({ chat_template: template }: Record<string, unknown>): string | undefined {
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return undefined;
  const found = template.find((entry) => entry?.name === 'default')?.template;
  return typeof found === 'string' ? found : undefined;
}

/** `bos_token`, `eos_token` and others, by their names in templates. */
function specialTokens(config: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) => {
      if (!key.endsWith('_token')) return [];
      const token = typeof value === 'string' ? value : (value as { content?: unknown } | null)?.content;
      return typeof token === 'string' ? [[key, token]] : [];
    }),
  );
}

import { FormatError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { chatPrompt, findChatTemplate } from './chat-prompt.js';
import { stopTokens } from './stop-tokens.js';
import { createTextStream } from './text-stream.js';

const template =
  "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}" +
  '{% if add_generation_prompt %}<assistant>{% endif %}';

describe('a chat prompt', () => {
  it('is the template with the messages, ready for the answer', () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
    ] as const;
    const text = '<s><system>Be brief.<user>Hello<assistant>';
    expect(chatPrompt(template, messages, { bos_token: '<s>' })).toBe(text);
    expect(chatPrompt(template, messages, { bos_token: { content: '<s>' }, pad_token: null })).toBe(text);
  });

  it('names a template that cannot be used', () => {
    expect(() => chatPrompt('{% for %}', [])).toThrow(FormatError);
    const refusing = "{{ raise_exception('roles must alternate') }}";
    expect(() => chatPrompt(refusing, [])).toThrow(/roles must alternate/);
  });

  it('comes from the file, or the config: of several the default one', () => {
    const several = [
      { name: 'tool_use', template: 'a' },
      { name: 'default', template: 'b' },
    ];
    expect(findChatTemplate('x', { chat_template: 'y' })).toBe('x');
    expect(findChatTemplate(undefined, { chat_template: 'y' })).toBe('y');
    expect(findChatTemplate(undefined, { chat_template: several })).toBe('b');
    expect(findChatTemplate(undefined, {})).toBeUndefined();
  });
});

describe('stop tokens', () => {
  it('are those of the generation config, else of the model', () => {
    expect([...stopTokens({ eos_token_id: [3, 4] }, { eos_token_id: 1 })]).toEqual([3, 4]);
    expect([...stopTokens({}, { eos_token_id: 1 })]).toEqual([1]);
    expect([...stopTokens(undefined, { eos_token_id: null })]).toEqual([]);
    expect(() => stopTokens({ eos_token_id: 'x' }, {})).toThrow(/generation_config.json: eos_token_id/);
  });
});

describe('a text stream', () => {
  /** Two bytes a character from 128 on; the first token of a decoded text loses its space. */
  const decode = (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)).replace(/^ /, '');

  it('keeps bytes back until their character is whole', () => {
    const stream = createTextStream({ decode }, [65]);
    const bytes = [...new TextEncoder().encode(' é b')];
    expect(bytes.map((id) => stream.push(id))).toEqual([' ', '', 'é', ' ', 'b']);
    expect(stream.end()).toBe('');
  });

  it('gives out at the end what never became whole', () => {
    const stream = createTextStream({ decode }, [65]);
    expect(stream.push(0xc3)).toBe('');
    expect(stream.end()).toBe('\ufffd');
  });
});

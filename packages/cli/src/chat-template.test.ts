import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openChatTemplate } from './chat-template.js';
import { demo } from './testing/demo.js';
import { loadWindows } from './texts.js';

const template = `{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- raise_exception('no tools, ' + strftime_now('%d %B %Y')) }}
    {%- endif %}
    {{- '[' + message.role + '] ' + message.content | trim }}{{ '\\n' }}
    {% if loop.last %}
    -- end of {{ loop.index }}
    {% endif %}
{%- endfor %}
`;
const messages = [
  { role: 'user', content: ' Name a fruit. ' },
  { role: 'assistant', content: 'Plum.' },
];
/** What `apply_chat_template` of transformers 5 writes with this template and these messages. */
const golden = '<s>[user] Name a fruit.\n\n[assistant] Plum.\n\n    -- end of 2\n';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-chat-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a chat template', () => {
  it('of tokenizer_config.json writes what transformers writes', async () => {
    const config = { bos_token: { content: '<s>' }, chat_template: [{ name: 'default', template }] };
    await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    expect((await openChatTemplate(folder, false))(messages)).toBe(golden);
    expect((await openChatTemplate(folder, true))(messages)).toBe(golden.slice('<s>'.length));
    const chat = await openChatTemplate(folder, false);
    expect(() => chat([{ role: 'tool', content: '' }])).toThrow(
      /the chat template cannot be used: no tools, 26 July 2024/,
    );
  });

  it('in a file of its own goes before', async () => {
    await writeFile(join(folder, 'chat_template.jinja'), '{{ messages[0].content }}');
    expect((await openChatTemplate(folder, false))(messages)).toBe(' Name a fruit. ');
    await writeFile(join(folder, 'chat_template.jinja'), '{% for %}');
    await expect(openChatTemplate(folder, false)).rejects.toThrow(
      /chat_template\.jinja: the chat template cannot be used/,
    );
  });

  it('makes windows of conversations, and its absence is told with the line', async () => {
    const model = join(folder, 'model');
    await cp(demo.model, model, { recursive: true });
    const path = join(folder, 'talk.jsonl');
    const plain = join(folder, 'plain.txt');
    await writeFile(path, `${JSON.stringify({ messages })}\n`);
    await writeFile(plain, 'user: Name a fruit. assistant: Plum.');
    await expect(loadWindows(model, { path, length: 4 })).rejects.toThrow(
      /talk\.jsonl, line 1: .*has no chat template/,
    );
    const source =
      "{% for m in messages %}{{ ' ' if loop.index > 1 }}{{ m.role + ': ' + m.content | trim }}{% endfor %}";
    await writeFile(join(model, 'chat_template.jinja'), source);
    expect(await loadWindows(model, { path, length: 4 })).toEqual(await loadWindows(model, { path: plain, length: 4 }));
  });
});

import type { Option, OptionRecord } from '@q/core';
import {
  baseOf,
  layoutKey,
  methodOption,
  methodOptions,
  namedParts,
  schemeOptions,
  topOptions,
  type Vocabulary,
} from '@q/pipeline';
import { defaultNote, flagOf } from '../command.js';

/** `docs/options.md`: every name for recipes, from the declarations alone. */
export function optionPage(vocabulary: Vocabulary): string {
  const { methods, layouts, fits, steps, schemes, formats } = vocabulary;
  const rows = (options: OptionRecord, keyOf = (key: string) => key) =>
    table(
      ['option', 'key in a recipe', 'value', 'default', 'meaning'],
      Object.entries(options).map(([key, option]) => [
        code(flags(keyOf(key), option)),
        code(keyOf(key)),
        valuesOf(option, vocabulary),
        defaultNote(option).replace(/^ \(default: |\)$/g, '') || (option.type === 'boolean' ? 'false' : ''),
        option.help,
      ]),
    );
  const parts = (of: readonly { name: string; summary: string }[]) =>
    table(
      ['name', 'what it is'],
      of.map(({ name, summary }) => [code(name), summary]),
    );
  return [
    '# Options of methods, layouts and recipes',
    '',
    'A test writes this page from the declarations of the packages:',
    '`pnpm --filter @q/cli exec vitest run --update=true src/option-tables.test.ts`. The command refuses an option that the',
    'chosen method does not have. `q schema` prints the same as a JSON Schema, for editors.',
    '',
    '## Recipe',
    '',
    ...rows({ method: methodOption(vocabulary), ...schemeOptions, ...topOptions }),
    '',
    '## Methods',
    '',
    ...methods.flatMap((method) => {
      const base = baseOf(method, vocabulary);
      const own = methodOptions(method, vocabulary);
      return [
        `### ${method.name}`,
        '',
        sentence(method.summary),
        `${base ? `\`${base.name}\` rounds the weights. ` : ''}Layout: \`${method.layout ?? layouts[0].name}\`.`,
        '',
        ...(Object.keys(own).length > 0 ? [...rows(own), ''] : []),
      ];
    }),
    '## Layouts',
    '',
    ...parts(layouts),
    '',
    ...layouts.flatMap(({ name, options }) =>
      Object.keys(options).length > 0 ? [`### ${name}`, '', ...rows(options as OptionRecord, layoutKey), ''] : [],
    ),
    '## Fits (`fit`)',
    '',
    'A fit finds the scales. A recipe gives its name, or an object with its name and options:',
    '`fit: { name: percentile, p: 0.99 }`.',
    '',
    ...table(
      ['name', 'what it is', 'options'],
      fits.map(({ name, summary, options }) => [
        code(name),
        summary,
        Object.entries(options as OptionRecord)
          .map(([key, option]) => `\`${key}\`, ${option.expected}${defaultNote(option)}`)
          .join('; '),
      ]),
    ),
    '',
    '## Steps (`transforms`)',
    '',
    ...parts(steps),
    '',
    '## Schemes (`weights`)',
    '',
    'A value is a named scheme, or a number format with a granularity (`g64`, `flat 64`, `block 128x128`, `per channel`,',
    '`per tensor`), zero points (`sym`, `asym` or `asym float zero`), and a storage of scales (`f16 scales`). Examples:',
    '`int3 g64`, `uint4 g32 asym, f16 scales`. A layout refuses a scheme that it cannot hold; `plain` holds every scheme.',
    '',
    'Number formats:',
    ...rowsOf(
      formats.map(({ name }) => code(name)),
      8,
    ),
    '',
    ...parts(schemes),
    '',
  ].join('\n');
}

const code = (text: string) => `\`${text}\``;
/** Lines of `count` words each, separated by commas. */
const rowsOf = (words: readonly string[], count: number): string[] =>
  Array.from({ length: Math.ceil(words.length / count) }, (_, i) =>
    words.slice(i * count, (i + 1) * count).join(', '),
  ).map((line, i, all) => (i < all.length - 1 ? `${line},` : `${line}.`));
const sentence = (text: string) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function flags(key: string, option: Option<any>): string {
  if (key === 'symmetric') return '--sym, --asym';
  if (key === 'maxShardBytes') return '--max-shard';
  const flag = flagOf(key);
  return option.type === 'boolean' ? `${flag}, ${flag.replace('--', '--no-')}` : flag;
}

function valuesOf(option: Option<any>, vocabulary: Vocabulary): string {
  if (option.type === 'boolean') return 'true, false';
  const names = option.type === 'choice' ? option.names?.(namedParts(vocabulary)) : undefined;
  return names ? names.map(code).join(', ') : option.expected;
}

/** A table of Markdown with aligned columns. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, j) => Math.max(3, ...cells.map((row) => row[j].length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, j) => cell.padEnd(widths[j])).join(' | ')} |`;
  return [line(cells[0]), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...cells.slice(1).map(line)];
}

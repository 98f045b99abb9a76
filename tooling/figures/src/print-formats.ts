/**
 * `pnpm figures:formats [--each] [--markdown]` prints bits per weight and signal to noise (dB) of every number format
 * and granularity on a Gaussian, a Laplace and the linears of llama-5m: for each kind the mean over the layers, or with
 * `--each` every layer.
 */
import { parseArgs } from 'node:util';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { elementCount, type Tensor } from '@q/core';
import { formatRows, measureFormat, randomWeight } from './format-figures.js';
import { sharedFolder } from './shared-model.js';

const { values } = parseArgs({
  options: { each: { type: 'boolean', default: false }, markdown: { type: 'boolean', default: false } },
});

interface Column {
  readonly title: string;
  readonly weights: readonly Tensor<'f32'>[];
}

const columns: Column[] = [
  { title: 'Gaussian', weights: [randomWeight('gaussian', 256, 1024)] },
  { title: 'Laplace', weights: [randomWeight('laplace', 256, 1024)] },
];
const folder = sharedFolder('models', 'llama-5m');
if (folder) {
  const checkpoint = await openCheckpoint(folder, [gptqLayout()]);
  if (!checkpoint.model) throw new Error(`${folder}: unknown architecture`);
  const kinds = new Map<string, Tensor<'f32'>[]>();
  for (const { linears } of checkpoint.model.blocks) {
    for (const { module } of linears) {
      const kind = values.each ? module.replace('model.layers.', '').replace(/_proj$/, '') : module.split('.').at(-1)!;
      const title = kind.replace(/_proj$/, '').replace(/(self_attn|mlp)\./, '');
      kinds.set(title, [...(kinds.get(title) ?? []), await checkpoint.weight(`${module}.weight`)]);
    }
  }
  await checkpoint.close();
  columns.push(...[...kinds].map(([title, weights]) => ({ title, weights })));
}

const [first, last, separator] = values.markdown ? ['| ', ' |', ' | '] : ['', '', '  '];
const width = Math.max(...formatRows.map(({ name }) => name.length));
const line = (name: string, bits: string, cells: readonly string[]) =>
  first + [name.padEnd(width), bits.padStart(6), ...cells.map((cell) => cell.padStart(8))].join(separator) + last;
console.log(
  line(
    'dB',
    'bits',
    columns.map(({ title }) => title),
  ),
);
if (values.markdown) console.log(`|${'---|'.repeat(columns.length + 2)}`);
for (const row of formatRows) {
  const figures = columns.map(({ weights }) => {
    const all = weights.map((weight) => measureFormat(row, weight));
    return all.reduce((sum, { decibels }) => sum + decibels, 0) / all.length;
  });
  const { bits } = measureFormat(row, columns[0].weights[0]);
  console.log(
    line(
      row.name,
      bits.toFixed(3),
      figures.map((decibels) => (decibels === Number.POSITIVE_INFINITY ? 'exact' : decibels.toFixed(2))),
    ),
  );
}
const elements = columns.flatMap(({ weights }) => weights).reduce((sum, { shape }) => sum + elementCount(shape), 0);
console.log(
  `\n${formatRows.length} formats on ${elements} values; bits are those of a [256, 1024] weight, scales included.`,
);

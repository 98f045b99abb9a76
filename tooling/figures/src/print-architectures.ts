/**
 * Prints the table of docs/architectures.md from the cases of the tests: for every kind of model the cases that are
 * compared with transformers, the edges that are scaled, and the possible rotations.
 *
 *     pnpm figures:architectures > docs/architectures.md
 */
import { readFile } from 'node:fs/promises';
import { architectures, describeModel } from '@q/models';
import { rotate } from '@q/rotate';

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly names?: readonly string[];
}

const testing = new URL('../../../packages/models/src/testing/', import.meta.url);
const files = ['transformers-logits.json', 'transformers-decoders.json'];
const cases = (
  await Promise.all(files.map(async (name) => JSON.parse(await readFile(new URL(name, testing), 'utf8')).cases))
).flat() as Case[];

function row(type: string): string | undefined {
  const own = cases.filter(({ config }) => config['model_type'] === type);
  const first = own.find(({ config }) => !config['architectures']);
  if (!first) return undefined;
  const model = describeModel(first.config, architectures, first.names && new Set(first.names));
  const edges = [...new Set(model.blocks.flatMap((block) => block.edges.map(({ id }) => id)))];
  const shown = edges.filter((id) => !/^experts\.\d/.test(id)).join(', ');
  const stream = rotate({ values: false }).refuse?.(model) ? 'no' : 'yes';
  const values = rotate({ residual: false }).refuse?.(model) ? 'no' : 'yes';
  return `| \`${type}\` | ${own.length} | ${shown} | ${stream} | ${values} |`;
}

const rows = architectures.flatMap(({ modelTypes }) => modelTypes.flatMap((type) => row(type) ?? []));
console.log(`# Decoders

\`pnpm figures:architectures\` prints this table from the cases of the tests. The tests compare each case with
transformers. \`packages/models/src/edges.test.ts\` scales the edges of decoders, and checks that the logits stay the
same. \`packages/rotate\` tests rotations on a small model of each kind of block. \`packages/cli/src/decoders.test.ts\` and
\`mixture.test.ts\` test GPTQ, AWQ, SmoothQuant and a resumed run.

| model_type | cases compared with transformers | edges of AWQ and SmoothQuant | residual stream rotated | values rotated |
| --- | --- | --- | --- | --- |
${rows.join('\n')}`);

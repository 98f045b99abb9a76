/**
 * `pnpm fuzz PARSER|all --cases 1e6 --first 0` reads mutated inputs and prints the findings. It ends with 1 if there
 * were any.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.js';
import { parsers } from './parsers/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cases: { type: 'string', default: '1e4' }, first: { type: 'string', default: '0' } },
});
// A library prints its remarks about a tokenizer to the console.
console.warn = () => {};
const all = parsers();
const [wanted = 'all'] = positionals;
const chosen = all.filter(({ name }) => wanted === 'all' || name === wanted || name.startsWith(`${wanted}-`));
if (chosen.length === 0) console.error(`no parser ${wanted}: ${all.map(({ name }) => name).join(', ')}, all`);
let found = chosen.length === 0 ? 1 : 0;
for (const parser of chosen) {
  const result = await fuzz(parser, Number(values.first), Number(values.cases), (done, findings) =>
    console.error(`${parser.name}: ${done} cases, ${findings} findings`),
  );
  found += result.findings.length;
  console.log(
    `${parser.name}: ${result.cases} cases, ${result.read} read, ${result.refused} refused, slowest ${result.slowest.toFixed(3)} s, ${result.findings.length} findings`,
  );
  const kinds = new Map<string, number>();
  for (const { number, what } of result.findings) {
    const kind = what.slice(0, 80);
    if (!kinds.has(kind)) console.log(`  case ${number}: ${what}`);
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
}
for (const parser of all) await parser.close?.();
process.exitCode = found > 0 ? 1 : 0;

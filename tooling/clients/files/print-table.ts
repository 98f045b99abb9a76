/**
 * Prints the table of docs/runtimes.md: every architecture as a file of every type, each loaded by its runtime and
 * compared with our own forward pass of the same codes. `print-table.ts WORK ONNX_MODULES LLAMA_MODULE REPORT
 * [NAME...]`; names are those of architectures, by default all of them.
 */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ggufColumns, onnxColumns, type SmallModel, smallModels, textLength } from './architectures.js';
import { type Cell, type CellResult, keyOf } from './cell.js';
import { writeCells } from './write-cells.js';

const [work, modules, llama, report, ...names] = process.argv.slice(2) as [string, string, string, string, ...string[]];
const models = smallModels.filter(({ name }) => names.length === 0 || names.includes(name));

/**
 * Limits for runtimes that round the inputs of products to 8 bits: onnxruntime in q8, llama.cpp in all types except
 * floats. Decoders: KL divergence in nats. Encoders: one minus the cosine. If two experts have about the same weight
 * for a token, rounding sends the token to the other one.
 */
const allowed = { decoder: 1e-3, experts: 2e-2, encoder: 5e-4 };
/** Limit for runtimes that do not round the inputs and compute in f32 or f16: the graph must be correct. */
const allowedUnrounded = 1e-5;
const roundsInputs = ({ runtime, type }: Pick<Cell, 'runtime' | 'type'>) =>
  runtime === 'onnx' ? type === 'q8' : type !== 'f32';
const kindOf = ({ config, encoder }: SmallModel): keyof typeof allowed =>
  encoder ? 'encoder' : 'num_experts' in config || 'num_local_experts' in config ? 'experts' : 'decoder';

/** Operators and models that the runtime of a file does not have, in the words of the table. */
const known: Readonly<Record<string, string>> = {
  'gguf mpnet': 'no MPNet',
};

/**
 * Runs cells in a separate process. If the process dies, its current file counts as failed, and the other files are run
 * again.
 */
async function runCells(script: string, module: string, cells: readonly Cell[]): Promise<CellResult[]> {
  if (cells.length === 0) return [];
  const list = join(work, `${script}.json`);
  await writeFile(list, JSON.stringify(cells));
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn('tsx', ['--conditions=@q/source', path, list, module], { stdio: ['ignore', 'pipe', 'pipe'] });
  const results: CellResult[] = [];
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  for await (const line of createInterface(child.stdout)) if (line.startsWith('{')) results.push(JSON.parse(line));
  await ended;
  const dead = cells[results.length];
  if (!dead) return results;
  const reason = `ends the process: ${said.trim().split('\n').at(-1) ?? ''}`;
  const rest = cells.slice(results.length + 1);
  return [...results, { key: keyOf(dead), reason }, ...(await runCells(script, module, rest))];
}

const { cells, refused } = await writeCells(work, models);
const of = (runtime: Cell['runtime']) => cells.filter((cell) => cell.runtime === runtime);
const results = new Map(
  [
    ...refused,
    ...(await runCells('run-onnx.ts', modules, of('onnx'))),
    ...(await runCells('run-llama.ts', llama, of('gguf'))),
  ].map((result) => [result.key, result]),
);

const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
function show(cell: Pick<Cell, 'runtime' | 'architecture' | 'type'>, kind: keyof typeof allowed): string {
  const key = keyOf(cell);
  const { off, reason } = results.get(key) ?? { reason: 'was not run' };
  const why = known[`${cell.runtime} ${cell.architecture}`];
  const good = off !== undefined && off < (roundsInputs(cell) ? allowed[kind] : allowedUnrounded);
  if (why !== undefined && off === undefined) {
    total.skipped++;
    return why;
  }
  total[good ? 'passed' : 'failed']++;
  if (good) return off.toExponential(1);
  failures.push(`FAIL ${key}: ${reason ?? off}`);
  return off === undefined ? 'FAILS' : `**${off.toExponential(1)}**`;
}

const columns = [
  ...onnxColumns.map(([type, title]) => ({ runtime: 'onnx' as const, type, title: `ONNX ${title}` })),
  ...ggufColumns.map(([type, title]) => ({ runtime: 'gguf' as const, type, title: `GGUF ${title}` })),
];
console.log(`| ${textLength} tokens | ${columns.map(({ title }) => title).join(' | ')} |`);
console.log(`|---|${columns.map(() => '---').join('|')}|`);
for (const model of models) {
  const { name: architecture } = model;
  const shown = columns.map(({ runtime, type }) => show({ runtime, architecture, type }, kindOf(model)));
  console.log(`| ${architecture} | ${shown.join(' | ')} |`);
}
for (const words of failures) console.log(words);
console.log(`files: ${total.passed} ok, ${total.failed} failed, ${total.skipped} that the runtime does not know`);
await writeFile(report, `${JSON.stringify(total)}\n`);
process.exitCode = total.failed > 0 ? 1 : 0;

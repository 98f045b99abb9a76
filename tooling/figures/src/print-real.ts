/**
 * `pnpm figures:real [--models a,b] [--samples N] [--windows N]` prints bytes and quality of three published models,
 * measured with the command. The models are in the folder of `QUANT_REAL`, the text is in `QUANT_SHARED`. The first
 * half of WikiText-2's test split is for calibration, the second half for evaluation.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureCommand } from './measured-command.js';
import { type RealModel, type RealRow, realModels } from './real-rows.js';

const { values: asked } = parseArgs({
  options: {
    models: { type: 'string' },
    samples: { type: 'string', default: '128' },
    windows: { type: 'string', default: '128' },
    sentences: { type: 'string', default: '2000' },
  },
});
const [real, shared] = ['QUANT_REAL', 'QUANT_SHARED'].map((name) => {
  const value = process.env[name];
  if (value === undefined)
    throw new Error(
      `${name} is not set: it names the folder of ${name === 'QUANT_REAL' ? 'published models' : 'texts'}`,
    );
  return value;
}) as [string, string];
const work = await mkdtemp(join(tmpdir(), 'q-real-'));
const length = '256';

interface Score {
  readonly bytes: number;
  readonly cosine?: { readonly mean: number; readonly min: number };
  readonly kl?: number;
  readonly perplexity?: number;
  readonly topAgreement?: number;
}

/** Sentences of a text, one for each line with 40 to 240 letters, so fragments and headings are left out. */
const sentencesOf = (text: string): readonly string[] =>
  text
    .split('\n')
    .filter((line) => !line.trim().startsWith('='))
    .flatMap((line) => line.split(/(?<=[.!?]) +(?=[A-Z"])/))
    .map((each) => each.trim())
    .filter((each) => each.length >= 40 && each.length <= 240);

async function writeTexts(): Promise<{ calibration: string; judging: string; sentences: string }> {
  const all = await readFile(join(shared, 'data/text/wikitext-2-raw-test.txt'), 'utf8');
  const middle = all.indexOf('\n', all.length / 2) + 1;
  const paths = { calibration: 'calibration.txt', judging: 'judging.txt', sentences: 'sentences.txt' };
  const texts = {
    calibration: all.slice(0, middle),
    judging: all.slice(middle),
    sentences: `${sentencesOf(all.slice(middle)).slice(0, Number(asked.sentences)).join('\n')}\n`,
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(work, paths[name as 'judging']), text);
  return Object.fromEntries(Object.entries(paths).map(([name, path]) => [name, join(work, path)])) as typeof paths;
}

const texts = await writeTexts();

async function score(path: string, source: string): Promise<Score> {
  const encoder = await stat(join(source, 'modules.json')).catch(() => undefined);
  const text = encoder
    ? ['--text', texts.sentences]
    : ['--text', texts.judging, '--length', length, '--windows', asked.windows];
  const { out } = await measureCommand(['eval', path, '--against', source, ...text, '--json']);
  return JSON.parse(out);
}

const cells: string[][] = [];
let missed = 0;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;

function show(
  title: string,
  row: Pick<RealRow, 'name'> & Partial<RealRow>,
  found: Score,
  seconds: number,
  peer?: Score,
): void {
  const kl = peer?.kl !== undefined && row.shareOfPeer !== undefined ? row.shareOfPeer * peer.kl : undefined;
  const holds = [
    row.mostBytes === undefined || found.bytes <= row.mostBytes,
    row.leastCosine === undefined || (found.cosine?.mean ?? 0) >= row.leastCosine,
    kl === undefined || (found.kl ?? Number.POSITIVE_INFINITY) <= kl,
  ];
  if (holds.includes(false)) missed++;
  cells.push([
    title,
    row.name,
    megabytes(found.bytes),
    row.mostBytes === undefined ? '' : megabytes(row.mostBytes),
    found.cosine
      ? `cosine ${found.cosine.mean.toFixed(5)}, worst ${found.cosine.min.toFixed(4)}`
      : `KL ${found.kl?.toFixed(4)}, same token ${(100 * (found.topAgreement ?? 0)).toFixed(1)} %`,
    row.leastCosine === undefined ? (kl === undefined ? '' : `KL ${kl.toFixed(4)}`) : `cosine ${row.leastCosine}`,
    seconds.toFixed(0),
  ]);
  console.error(cells.at(-1)?.join(' | '));
}

async function measure({ folder, title, rows, peers = [] }: RealModel): Promise<void> {
  const source = join(real, folder);
  let peer: Score | undefined;
  for (const { name, options } of peers) {
    const file = join(work, 'peer.gguf');
    const made = await measureCommand(['convert', source, file, '--to', 'gguf', ...options]);
    peer = await score(file, source);
    show(title, { name }, peer, made.seconds);
    await rm(file);
  }
  for (const row of rows) {
    const out = join(work, 'out');
    const calibration = ['--calib', texts.calibration, '--samples', asked.samples, '--length', length];
    const made = await measureCommand([
      'quantize',
      source,
      out,
      ...row.options,
      ...(row.calibrated ? calibration : []),
    ]);
    show(title, row, await score(out, source), made.seconds, peer);
    await rm(out, { recursive: true });
  }
}

try {
  const wanted = asked.models?.split(',');
  for (const model of realModels) if (!wanted || wanted.includes(model.folder)) await measure(model);
  console.log('| model | setting | bytes | at most | quality | bound | seconds |');
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const row of cells) console.log(`| ${row.join(' | ')} |`);
  if (missed > 0) process.exitCode = 1;
} finally {
  await rm(work, { recursive: true });
}

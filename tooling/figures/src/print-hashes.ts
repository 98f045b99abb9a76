/**
 * `pnpm figures:hashes [--golden FILE] [--only TEXT]` prints one line for every method in every layout on the demo
 * model, and for the methods without training on the small shared models: the SHA-256 over the names and bytes of the
 * weight files, or the plan's reason for a refusal. With `--golden` the lines are compared with a file, and the exit
 * code is 1 if one differs. Use it to check a change that must keep all bytes. Bytes are those of one platform and one
 * Node version.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { main } from '@q/cli';

const { values } = parseArgs({ options: { golden: { type: 'string' }, only: { type: 'string', default: '' } } });
const demo = fileURLToPath(new URL('../../../packages/cli/demo', import.meta.url));
const shared = process.env.QUANT_SHARED ?? fileURLToPath(new URL('../../../../shared', import.meta.url));

const layouts = ['gptq', 'awq', 'plain', 'compressed-tensors-int8', 'bitsandbytes-int8'];
const training = ['--epochs', '1', '--batch', '4'];
/** The methods of commit ad4c4c6, with the options that keep their trainings short. */
const methods: Readonly<Record<string, readonly string[]>> = {
  rtn: [],
  gptq: [],
  awq: [],
  qaft: training,
  'llm-qat': training,
  peqa: training,
  signround: ['--steps', '4', '--batch', '4'],
  'efficient-qat': training,
  hqq: [],
  'gptq-paper': [],
  smoothquant: [],
  'llm-int8': [],
};
const ownScheme = ['smoothquant', 'llm-int8'];
/** Options beyond each method's own defaults. */
const variants: readonly (readonly [string, readonly string[]])[] = [
  ['rtn --sym', ['--method', 'rtn', '--sym']],
  ['rtn --group -1 --bits 8', ['--method', 'rtn', '--group', '-1', '--bits', '8']],
  ['rtn --fit minMax', ['--method', 'rtn', '--fit', 'minMax']],
  ['rtn --importance diagonal', ['--method', 'rtn', '--importance', 'diagonal']],
  ['gptq --no-static-groups', ['--no-static-groups']],
  ['gptq --refine-rounds 0 --retarget 0', ['--refine-rounds', '0', '--retarget', '0', '--damping', '0.02']],
  ['gptq --importance conditional', ['--importance', 'conditional', '--no-residual', '--no-act-order']],
  ['gptq --rotate', ['--rotate']],
  ['gptq --rule', ['--rule', '*.mlp.down_proj=bits:8', '--keep', 'model.layers.0.*']],
  ['awq --objective module --no-clip', ['--method', 'awq', '--objective', 'module', '--no-clip']],
  ['smoothquant --alpha search --level o3', ['--method', 'smoothquant', '--alpha', 'search', '--level', 'o3']],
  ['smoothquant --level o1', ['--method', 'smoothquant', '--level', 'o1', '--alpha', '0.8']],
  ['llm-int8 --threshold 0', ['--method', 'llm-int8', '--threshold', '0']],
  ['qaft --loss labels', ['--method', 'qaft', '--loss', 'labels', '--rate', '0.001', ...training]],
  ['llm-qat --input-bits 8', ['--method', 'llm-qat', '--input-bits', '8', '--cache-bits', '8', ...training]],
  ['peqa --loss teacher', ['--method', 'peqa', '--loss', 'teacher', ...training]],
];

interface Run {
  readonly label: string;
  readonly model: string;
  readonly options: readonly string[];
}

function runs(): Run[] {
  const onDemo = (label: string, options: readonly string[]): Run => ({
    label: `demo ${label}`,
    model: join(demo, 'model'),
    options: ['--calib', join(demo, 'text', 'calibration.txt'), '--samples', '8', '--length', '64', ...options],
  });
  const group = (method: string) => (ownScheme.includes(method) ? [] : ['--group', '32']);
  const all: Run[] = [];
  for (const [method, own] of Object.entries(methods))
    for (const layout of layouts)
      all.push(onDemo(`${method} ${layout}`, ['--method', method, '--format', layout, ...group(method), ...own]));
  for (const [label, options] of variants) {
    const method = options[options.indexOf('--method') + 1] ?? '';
    const fixed = options.includes('--group') || (options.includes('--method') && ownScheme.includes(method));
    all.push(onDemo(label, [...(fixed ? [] : ['--group', '32']), ...options]));
  }
  for (const name of ['llama-5m', 'gpt2-3m', 'opt-3m'])
    for (const method of ['rtn', 'gptq', 'awq', 'hqq', 'smoothquant', 'llm-int8'])
      all.push({
        label: `${name} ${method}`,
        model: join(shared, 'models', name),
        options: [
          ...['--method', method, '--samples', '8', '--length', '256', ...group(method)],
          ...['--calib', join(shared, 'models', name, 'calib-128x256.u16')],
        ],
      });
  return all.filter(({ label }) => label.includes(values.only));
}

/** One line: the hash of the weight files, or the command's error. */
async function line({ label, model, options }: Run, folder: string): Promise<string> {
  const out = join(folder, label.replace(/[^a-z0-9-]+/gi, '_'));
  let errors = '';
  const streams = {
    out: { write: () => {} },
    err: {
      write: (text: string) => {
        errors += text;
      },
    },
  };
  const fixed = ['--engine', 'wasm', '--kernels', 'wasm', '--threads', '2', '--no-eval'];
  const code = await main(['quantize', model, out, ...fixed, ...options], streams, new AbortController().signal);
  const result = code === 0 ? await hash(out) : `refused: ${/^error: (.*)$/m.exec(errors)?.[1] ?? errors.trim()}`;
  await rm(out, { recursive: true, force: true });
  return `${label}\t${result.replaceAll(folder, '').replaceAll(shared, '').replaceAll(demo, '')}`;
}

async function hash(folder: string): Promise<string> {
  const sum = createHash('sha256');
  for (const name of (await readdir(folder)).filter((file) => file.endsWith('.safetensors')).sort())
    sum.update(name).update(await readFile(join(folder, name)));
  return sum.digest('hex');
}

const golden = values.golden === undefined ? undefined : (await readFile(values.golden, 'utf8')).split('\n');
const expected = new Map(
  golden?.filter((text) => text.includes('\t')).map((text) => text.split('\t') as [string, string]),
);
const folder = await mkdtemp(join(tmpdir(), 'q-hashes-'));
let different = 0;
console.log(`# ${process.platform} ${process.arch}, Node ${process.version}, engine wasm, 2 threads`);
for (const run of runs()) {
  const text = await line(run, folder);
  const [label, found] = text.split('\t');
  const before = expected.get(label);
  // The text of a refusal may change; the refusal itself may not.
  const same =
    before === undefined || before === found || (before.startsWith('refused') && found.startsWith('refused'));
  if (!golden) console.log(text);
  else if (!same) console.log(`${label}\n  was ${before}\n  is  ${found}`);
  if (!same) different++;
}
await rm(folder, { recursive: true, force: true });
if (golden) console.log(different === 0 ? 'every line is as before' : `${different} lines differ`);
if (different > 0) process.exitCode = 1;

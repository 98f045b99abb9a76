/**
 * Runs `q quantize --queue` with workers that are real processes, on a real Redis: kills, freezes, a server that loses
 * all jobs, a store that is slow and fails, workers that must not take part. The results are compared with a run on one
 * machine, byte for byte.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { objectName, openCoordinator, openQueueServer, openStore } from '@q/distributed';
import {
  freePort,
  makeCertificate,
  runToEnd,
  startPostgres,
  startRedis,
  startS3,
  startTroubledProxy,
} from './servers.js';

const [work, redisBinary, s3Module, reportPath, postgresBinaries, part = 'all'] = process.argv.slice(2);
const model = 'packages/cli/demo/model';
const secret = 'a-password';
/**
 * The built command if there is one, because a worker that is killed and started again should not compile sources each
 * time.
 */
const built = process.env.Q_BIN;
const command = built ? [built] : ['--conditions=@q/source', '--import', 'tsx', 'packages/cli/src/bin.ts'];
const results: { name: string; ok: boolean }[] = [];
const check = (name: string, ok: boolean, said = '') => {
  results.push({ name, ok });
  console.log(`${ok ? 'ok' : 'FAILED'}: ${name}${ok ? '' : `\n${said}`}`);
};

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  said(): string;
}

/** All started processes. The check ends each of them. */
const children = new Set<ChildProcess>();

function q(words: readonly string[], environment: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [...command, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  children.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data) => {
      text += data;
    });
  const ended = new Promise<number | null>((resolve) =>
    child.on('close', (code) => {
      children.delete(child);
      resolve(code);
    }),
  );
  return { child, ended, said: () => text };
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function waitFor(what: string, condition: () => boolean | Promise<boolean>, seconds = 120): Promise<void> {
  for (let i = 0; i < seconds * 5; i++) {
    if (await condition()) return;
    await pause(200);
  }
  throw new Error(`waited ${seconds} s for ${what}`);
}

/** All files of a folder except its reports, and its report without times and paths. */
async function contentOf(folder: string): Promise<Record<string, unknown>> {
  const files: Record<string, unknown> = {};
  for (const name of (await readdir(folder)).sort())
    if (!name.startsWith('q-report')) files[name] = (await readFile(join(folder, name))).toString('base64');
  const { out, seconds, resumed, ...report } = JSON.parse(await readFile(join(folder, 'q-report.json'), 'utf8'));
  return { ...files, report };
}

/** Contents of all files of a folder, or of one file. */
async function bytesOf(path: string): Promise<Record<string, string>> {
  const names = (await stat(path)).isDirectory() ? await readdir(path, { recursive: true, withFileTypes: true }) : [];
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const all = await Promise.all(
    (names.length > 0 ? files : [path]).map(async (file) => [
      file.slice(path.length),
      (await readFile(file)).toString('base64'),
    ]),
  );
  return Object.fromEntries(all.sort());
}

const dataFree = ['--method', 'hqq', '--bits', '4', '--group', '32', '--no-eval'];
const text = ['--calib', 'packages/cli/demo/text/calibration.txt', '--samples', '8', '--length', '64', '--no-eval'];
/** Runs with calibration: statistics of every kind, transforms, static scales, moments of outputs. */
const calibrated: Readonly<Record<string, readonly string[]>> = {
  gptq: ['--method', 'gptq', '--bits', '4', '--group', '32', ...text],
  awq: ['--method', 'awq', '--bits', '4', '--group', '32', ...text],
  'smoothquant with static scales': ['--recipe', 'docs/recipes/smoothquant-o3.yaml', ...text],
  'rotation, smoothquant, awq, gptq': ['--recipe', 'docs/recipes/composed.yaml', '--group', '32', ...text],
  'gptq on the end loss': ['--method', 'gptq', '--objective', 'end-loss', '--bits', '3', '--group', '32', ...text],
};
const quantize = (
  out: string,
  more: readonly string[],
  { settings = dataFree, environment }: { settings?: readonly string[]; environment?: Record<string, string> } = {},
) => q(['quantize', model, out, ...settings, ...more, '--json'], environment);

async function same(name: string, out: string, run: Running, alone = join(work, 'alone')): Promise<void> {
  const code = await run.ended;
  const expected = await contentOf(alone);
  const found = code === 0 ? await contentOf(out) : {};
  const other = Object.keys({ ...expected, ...found }).filter((key) => !isDeepStrictEqual(expected[key], found[key]));
  check(name, code === 0 && other.length === 0, `exit code ${code}, other: ${other.join(', ')}\n${run.said()}`);
}

async function main(): Promise<void> {
  const port = await freePort();
  const address = `redis://:${secret}@127.0.0.1:${port}`;
  let redis = await startRedis({ binary: redisBinary, port, password: secret, folder: work });
  children.add(redis);
  if (part === 'windows') return windowsOverWorkers(address);
  const s3Folder = join(work, 's3');
  await mkdir(s3Folder);
  const s3 = await startS3(s3Module, s3Folder);
  const proxy = await startTroubledProxy(s3.port, { delay: 60, every: 10 });
  const environment = {
    ...{ AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' },
    AWS_ENDPOINT_URL: `http://127.0.0.1:${proxy.port}`,
  };
  const startWorker = () => q(['worker', address, '--lock', '3', '--threads', '1'], environment);
  const alone = quantize(join(work, 'alone'), []);
  const workers = Array.from({ length: 4 }, startWorker);
  check('the run on one machine', (await alone.ended) === 0, alone.said());

  // 1: a folder store that is removed at the end.
  const folder = quantize(join(work, 'folder'), ['--queue', address]);
  await same('4 workers, a folder as the store: the bytes and the report of one machine', join(work, 'folder'), folder);
  check('the store of the run is removed', !(await readdir(work)).includes('folder.store'));

  // 2: everything at once, on S3.
  const runs: readonly [string, readonly string[], string][] = [
    ['data-free', dataFree, join(work, 'alone')],
    ['calibrated', calibrated.gptq, join(work, 'alone-gptq')],
  ];
  for (const [kind, settings, expected] of runs) {
    if (kind === 'calibrated') {
      const first = quantize(expected, [], { settings });
      check(`the ${kind} run on one machine`, (await first.ended) === 0, first.said());
    }
    const results = async () =>
      (await readdir(join(s3Folder, 'q', kind, 'results'), { recursive: true }).catch(() => [])).filter((name) =>
        name.endsWith('object'),
      ).length;
    const out = join(work, `s3-${kind}`);
    const troubled = quantize(out, ['--queue', address, '--store', `s3://q/${kind}`], { settings, environment });
    await waitFor('first results', async () => (await results()) > 0 || troubled.child.exitCode !== null);
    let kills = 0;
    const kill = () => {
      // The frozen worker is not chosen.
      const index = 1 + randomInt(workers.length - 1);
      workers[index].child.kill('SIGKILL');
      workers[index] = startWorker();
      kills++;
    };
    const frozen = workers[0].child;
    frozen.kill('SIGSTOP');
    redis.kill('SIGKILL');
    await pause(500);
    redis = await startRedis({ binary: redisBinary, port, password: secret, folder: work });
    children.add(redis);
    // Kills follow the number of results, so workers make progress on slow machines too.
    let [seen, looking] = [await results(), false];
    const killing = setInterval(async () => {
      if (looking) return;
      looking = true;
      const count = await results();
      looking = false;
      if (count < seen + 6) return;
      seen = count;
      kill();
      frozen.kill('SIGCONT');
    }, 100);
    await same(
      `${kind}: workers killed at random, one frozen, a queue that loses all jobs, a store that fails one in ten: the same bytes`,
      out,
      troubled,
      expected,
    );
    clearInterval(killing);
    frozen.kill('SIGCONT');
    console.log(`   ${kills} kills, ${proxy.failed()} requests that the store failed so far`);
  }

  // 3: other runs with calibration, and a coordinator that is killed.
  for (const [name, settings] of Object.entries(calibrated).slice(1)) {
    const [alone, shared] = ['alone', 'shared'].map((each) => join(work, `${each} ${name}`));
    const expected = quantize(alone, [], { settings });
    check(`${name} on one machine`, (await expected.ended) === 0, expected.said());
    const run = quantize(shared, ['--queue', address], { settings });
    await same(`${name}: 4 workers, the bytes and the report of one machine`, shared, run, alone);
  }
  for (const [name, suffix, more] of [
    ['GGUF', '.gguf', ['--to', 'gguf', '--type', 'q8_0']],
    ['ONNX', '', ['--to', 'onnx', '--type', 'q4', '--method', 'hqq']],
  ] as const) {
    const [alone, shared] = ['alone', 'shared'].map((each) => join(work, `${each} ${name}${suffix}`));
    const first = q(['convert', model, alone, ...more, '--json']);
    const second = q(['convert', model, shared, ...more, '--json', '--queue', address]);
    const codes = [await first.ended, await second.ended];
    const equal = codes.every((code) => code === 0) && isDeepStrictEqual(await bytesOf(alone), await bytesOf(shared));
    check(`${name}: 4 workers, the bytes of one machine`, equal, first.said() + second.said());
  }
  const stopped = join(work, 'stopped');
  const more = ['--queue', address, '--store', join(work, 'stopped-store')];
  const killed = quantize(stopped, more, { settings: calibrated.gptq });
  await waitFor('the second block', async () => {
    const journal = await readFile(join(stopped, 'q-journal.jsonl'), 'utf8').catch(() => '');
    return journal.includes('layers.0') || killed.child.exitCode !== null;
  });
  killed.child.kill('SIGKILL');
  await killed.ended;
  await same(
    'a coordinator that is killed goes on, to the same bytes',
    stopped,
    quantize(stopped, more, { settings: calibrated.gptq }),
    join(work, 'alone-gptq'),
  );
  for (const { child } of workers) child.kill('SIGKILL');

  // 4: jobs that a worker must refuse.
  const storeFolder = join(work, 'store');
  const server = await openQueueServer(address);
  const store = await openStore(storeFolder, { make: true });
  const notes: string[] = [];
  const other = await openCoordinator({
    ...{ server, store, storeAddress: storeFolder, interval: 200, note: (text: string) => notes.push(text) },
    run: { kind: 'quantize', version: '9.9.9', kernels: 'wasm-relaxed' },
  });
  await other.add([{ id: 'a'.repeat(64), unit: 'x' }]);
  const old = q(['worker', address, '--threads', '1']);
  const code = await old.ended;
  check(
    'a worker of another version ends, and names both',
    code === 1 && /begun with version 9\.9\.9 of q, and this worker is 0\.1\.0/.test(old.said()),
    old.said(),
  );
  await waitFor('the coordinator to be told', () => notes.some((note) => /was rejected/.test(note)), 10).catch(
    () => {},
  );
  check(
    'the coordinator is told',
    notes.some((note) => /9\.9\.9/.test(note)),
    notes.join('\n'),
  );
  await other.close();

  // 5: a store that lacks a source, then has it again.
  const lacking = join(work, 'lacking');
  const out = join(work, 'lacking-out');
  const first = quantize(out, ['--queue', address, '--store', lacking]);
  await waitFor('jobs in the queue', async () => {
    const queue = server.queue('q');
    const count = await queue.count();
    await queue.close();
    // Jobs of the previous run may still be in the queue. The list of this run's tensors shows whether its jobs are
    // there.
    const listed = await modelList(lacking).catch(() => undefined);
    return (count > 0 && listed !== undefined) || first.child.exitCode !== null;
  });
  const { tensors } = JSON.parse(await readFile(await modelList(lacking), 'utf8'));
  const victim = tensors.find(({ name }: { name: string }) => name.endsWith('q_proj.weight'));
  const object = join(lacking, objectName('tensors', victim.sum));
  await waitFor('the tensor in the store', async () => (await stat(object).catch(() => undefined)) !== undefined);
  const bytes = await readFile(object);
  await rm(object);
  const last = q(['worker', address, '--threads', '2', '--lock', '3']);
  const lackingCode = await first.ended;
  check(
    'a store that lacks a source stops the run, which names the tensor and what is kept',
    lackingCode === 1 && new RegExp(`lacks .*${victim.name.replaceAll('.', '\\.')}[^]*is kept in`).test(first.said()),
    first.said(),
  );
  await writeFile(object, bytes);
  await same('the same command goes on', out, quantize(out, ['--queue', address, '--store', lacking]));
  last.child.kill('SIGTERM');
  check('a worker that is interrupted ends by itself', (await last.ended) !== null, last.said());

  // 6: a server that refuses the login.
  const stranger = quantize(join(work, 'stranger'), ['--queue', `redis://:guess@127.0.0.1:${port}`]);
  check(
    'a wrong password is refused, and is not shown',
    (await stranger.ended) === 1 && /cannot be used/.test(stranger.said()) && !stranger.said().includes('guess'),
    stranger.said(),
  );
  await server.close();
  proxy.close();
  await s3.close();
  await windowsOverWorkers(address);
  await overTls();
  await onPostgres();
  await fullStore(address);
}

/** Runs whose windows three workers send through the model: one of them is killed in the middle, and stays away. */
async function windowsOverWorkers(address: string): Promise<void> {
  const shards = ['--window-shards', '4'];
  for (const name of ['gptq', 'gptq on the end loss', 'rotation, smoothquant, awq, gptq']) {
    const settings = [...calibrated[name], ...shards];
    const [alone, shared] = ['alone', 'shared'].map((each) => join(work, `${each} windows ${name}`));
    const expected = quantize(alone, [], { settings });
    check(`${name}, 4 shards on one machine`, (await expected.ended) === 0, expected.said());
    const workers = [1, 2, 3].map(() => q(['worker', address, '--lock', '3', '--threads', '1']));
    const run = quantize(shared, ['--queue', address], { settings });
    await waitFor('the second block', async () => {
      const journal = await readFile(join(shared, 'q-journal.jsonl'), 'utf8').catch(() => '');
      return journal.includes('"model.layers.0"') || run.child.exitCode !== null;
    });
    const early = run.child.exitCode === null;
    workers[0].child.kill('SIGKILL');
    await same(`${name}, 4 shards, 3 workers, one killed: the bytes and the report of one machine`, shared, run, alone);
    const said = workers.map((worker) => worker.said());
    const windows = said.filter((text) => /shard \d of 4: done/.test(text)).length;
    check(
      `${name}: the worker was killed in the middle, and all computed windows`,
      early && windows === workers.length,
      said.join('\n'),
    );
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.map(({ ended }) => ended));
  }
}

/** Compares the bytes of a run on workers of a queue with the expected bytes. */
async function sameOn(name: string, address: string, out: string, environment: Record<string, string> = {}) {
  const workers = [1, 2].map(() => q(['worker', address, '--threads', '1'], environment));
  for (const [kind, settings, expected] of [
    ['data-free', dataFree, 'alone'],
    ['calibrated', calibrated.gptq, 'alone-gptq'],
  ] as const) {
    const folder = join(work, `${out}-${kind}`);
    const run = quantize(folder, ['--queue', address], { settings, environment });
    await same(`${name}, ${kind}: the bytes of one machine`, folder, run, join(work, expected));
  }
  for (const { child } of workers) child.kill('SIGTERM');
  check(`${name}: interrupted workers end`, (await Promise.all(workers.map(({ ended }) => ended))).length === 2);
}

async function overTls(): Promise<void> {
  const tls = await makeCertificate(work);
  const port = await freePort();
  children.add(await startRedis({ binary: redisBinary, port, password: secret, folder: work, tls }));
  const address = `rediss://:${secret}@127.0.0.1:${port}`;
  await sameOn('Redis over TLS', address, 'tls', { NODE_EXTRA_CA_CERTS: tls.certificate });
  const refused = quantize(join(work, 'untrusted'), ['--queue', address]);
  check(
    'a certificate that nobody vouches for is refused',
    (await refused.ended) === 1 && /cannot be used \(DEPTH_ZERO_SELF_SIGNED_CERT\)/.test(refused.said()),
    refused.said(),
  );
  const plain = quantize(join(work, 'plain'), ['--queue', `redis://:${secret}@127.0.0.1:${port}`]);
  check(
    'a server that speaks TLS alone is refused without it',
    (await plain.ended) === 1 && /cannot be used/.test(plain.said()),
    plain.said(),
  );
}

async function onPostgres(): Promise<void> {
  if (!postgresBinaries) return console.log('left out: PostgreSQL is not installed');
  const [port, folder] = [await freePort(), join(work, 'postgres')];
  children.add(await startPostgres({ binaries: postgresBinaries, port, password: secret, folder }));
  await sameOn('PostgreSQL', `postgres://q:${secret}@127.0.0.1:${port}/postgres`, 'on-postgres');
  const stranger = quantize(join(work, 'stranger-2'), ['--queue', `postgres://q:guess@127.0.0.1:${port}/postgres`]);
  check(
    'PostgreSQL: a wrong password is refused, and is not shown',
    (await stranger.ended) === 1 && /cannot be used/.test(stranger.said()) && !stranger.said().includes('guess'),
    stranger.said(),
  );
}

/** A file system that is too small for all weights, and then large enough. */
async function fullStore(address: string): Promise<void> {
  const folder = join(work, 'small');
  await mkdir(folder);
  const mounted = await runToEnd('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]).catch(() => undefined);
  if (mounted === undefined) return console.log('left out: no small file system can be mounted here');
  try {
    const worker = q(['worker', address, '--threads', '1', '--lock', '3']);
    const run = (out: string, settings: readonly string[]) =>
      quantize(join(work, out), ['--queue', address, '--store', folder], { settings });
    for (const [kind, settings, expected] of [
      ['data-free', dataFree, 'alone'],
      ['calibrated', calibrated.gptq, 'alone-gptq'],
    ] as const) {
      const filler = join(folder, 'filler');
      await writeFile(filler, new Uint8Array(kind === 'calibrated' ? 1.9e6 : 1e6));
      const first = run(`full-${kind}`, settings);
      const code = await first.ended;
      check(
        `a full store, ${kind}: the run stops with the reason`,
        code === 1 && /no space|disk is full|ENOSPC/i.test(first.said()),
        `exit code ${code}\n${first.said()}`,
      );
      await rm(filler);
      await runToEnd('mount', ['-o', 'remount,size=64m', folder]);
      const again = run(`full-${kind}`, settings);
      await same(
        `a store that was full, ${kind}: the same command goes on`,
        join(work, `full-${kind}`),
        again,
        join(work, expected),
      );
      await rm(join(folder, 'tensors'), { recursive: true, force: true });
      await rm(join(folder, 'results'), { recursive: true, force: true });
      await runToEnd('mount', ['-o', 'remount,size=2m', folder]);
    }
    worker.child.kill('SIGTERM');
    await worker.ended;
  } finally {
    await runToEnd('umount', ['-l', folder]);
  }
}

/** The object of a store that lists the tensors of a model. */
async function modelList(store: string): Promise<string> {
  for (const folder of await readdir(join(store, 'runs')))
    for (const name of await readdir(join(store, 'runs', folder))) {
      const path = join(store, 'runs', folder, name);
      if (JSON.parse(await readFile(path, 'utf8')).tensors) return path;
    }
  throw new Error(`${store}: has no list of tensors`);
}

const started = performance.now();
try {
  await main();
} catch (error) {
  check('the check itself', false, (error as Error).stack);
}
for (const child of children) child.kill('SIGKILL');
const failed = results.filter(({ ok }) => !ok);
const report = { passed: results.length - failed.length, failed: failed.length };
await writeFile(reportPath, `${JSON.stringify(report)}\n`);
console.log(
  `${report.passed} passed, ${report.failed} failed in ${((performance.now() - started) / 1000).toFixed(0)} s`,
);
process.exit(failed.length > 0 ? 1 : 0);

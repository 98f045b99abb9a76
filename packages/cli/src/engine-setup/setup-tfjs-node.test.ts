import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../testing/run-command.js';
import { pinned } from './npm-packages.js';

let root: string;
let programs: string;
const before = { PATH: process.env['PATH'], QUANT_CACHE: process.env['QUANT_CACHE'], CXX: process.env['CXX'] };
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'q-setup-'));
  programs = join(root, 'bin');
  await mkdir(programs);
  process.env['QUANT_CACHE'] = join(root, 'cache');
  // Nothing but what a test puts there, and what its scripts call.
  process.env['PATH'] = programs;
  delete process.env['CXX'];
  for (const name of ['mkdir', 'cat', 'rm', 'sleep']) await symlink(`/bin/${name}`, join(programs, name));
});
afterEach(async () => {
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  await rm(root, { recursive: true, force: true });
});

async function program(name: string, script: string): Promise<void> {
  await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(programs, name), 0o755);
}

/** What npm leaves: a lock, and a tfjs-node whose installer fails as it does without its store. */
async function fakeNpm(integrity: (name: keyof typeof pinned) => string = (name) => pinned[name].integrity) {
  const packages = Object.fromEntries(
    (Object.keys(pinned) as (keyof typeof pinned)[]).map((name) => [
      `node_modules/${name}`,
      { version: pinned[name].version, integrity: integrity(name) },
    ]),
  );
  await writeFile(join(root, 'lock.json'), JSON.stringify({ packages }));
  await program(
    'npm',
    `[ "$1" = --version ] && exit 0
     scripts=node_modules/@tensorflow/tfjs-node/scripts
     mkdir -p "$scripts"
     cat ${join(root, 'lock.json')} > package-lock.json
     echo "throw new Error('the store answers 403')" > "$scripts/install.js"`,
  );
}

/** Python whose pip serves `download`, a shell command that sees the folder as $folder. */
const fakePython = (download: string) =>
  program(
    'python3',
    `[ "$1" = -c ] && exit 0
     [ "$3" = --version ] && exit 0
     while [ $# -gt 0 ]; do [ "$1" = --dest ] && folder=$2; shift; done
     ${download}`,
  );

const setUp = ['engine', 'setup', 'tfjs-node'];
const engines = () => readdir(join(root, 'cache', 'engines'));

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('q engine setup tfjs-node', () => {
  it('says what it needs and lists all that is missing, before it changes anything', async () => {
    const { code, err } = await runCommand(setUp);
    expect(code).toBe(1);
    expect(err).toContain('a C++17 compiler');
    expect(err).toContain('1.2 GB after');
    expect(err).toMatch(/npm is not on PATH; Python 3.8 or newer is not on PATH .*; no C\+\+ compiler on PATH/);
    expect(await engines()).toEqual([]);
  });

  it('names a Python without pip, and a CXX that does not run', async () => {
    await fakeNpm();
    await program('python3', '[ "$1" = -c ]');
    process.env['CXX'] = join(root, 'no-such-compiler');
    const { err } = await runCommand(setUp);
    expect(err).toMatch(/python3 has no pip .*CXX names ".*no-such-compiler", which does not run/);
  });

  it('refuses an npm package with another sum', async () => {
    await fakeNpm((name) => (name === '@tensorflow/tfjs-core' ? 'sha512-another' : pinned[name].integrity));
    await fakePython('exit 1');
    await program('c++', '');
    const { code, err } = await runCommand(setUp);
    expect(code).toBe(1);
    expect(err).toMatch(
      /@tensorflow\/tfjs-core: npm installed .* sha512-another; one copy of 4\.22\.0 with sha512-LEk/,
    );
    expect(await engines()).toEqual([]);
  });

  it('refuses a wheel with another sum, after the installer of the package has failed', async () => {
    await fakeNpm();
    await fakePython('echo another > "$folder/tensorflow_cpu-2.21.0.whl"');
    await program('c++', '');
    const { code, err } = await runCommand(setUp);
    expect(code).toBe(1);
    expect(err).toContain('could not get libtensorflow (Error: the store answers 403)');
    expect(err).toMatch(/tensorflow_cpu-2\.21\.0\.whl: the SHA-256 is [0-9a-f]{64}, 2b847d21[0-9a-f]{56} was expected/);
    expect(await engines()).toEqual([]);
  });

  it('passes on what pip says', async () => {
    await fakeNpm();
    await fakePython('echo "ERROR: No matching distribution found for tensorflow-cpu" >&2; exit 1');
    await program('c++', '');
    const { err } = await runCommand(setUp);
    expect(err).toMatch(/error: pip could not download tensorflow-cpu==2\.21\.0: ERROR: No matching distribution/);
  });

  it('leaves nothing when it is interrupted, and removes what a killed one left', async () => {
    await fakeNpm();
    await fakePython('echo $$ > "$QUANT_CACHE/downloading"; exec sleep 60');
    await program('c++', '');
    // No process has this id: Linux gives out at most 2^22.
    const abandoned = join(root, 'cache', 'engines', '.tfjs-node-4.22.0-linux-x64-99999999-abcdef');
    await mkdir(abandoned, { recursive: true });
    const controller = new AbortController();
    const running = runCommand(setUp, controller.signal);
    const started = join(root, 'cache', 'downloading');
    while (!(await readFile(started, 'utf8').catch(() => ''))) await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await engines()).length).toBe(1);
    controller.abort();
    expect((await running).code).toBe(130);
    expect(await engines()).toEqual([]);
  });

  it('sets up again what is there and does not compute', async () => {
    const folder = join(root, 'cache', 'engines', 'tfjs-node-4.22.0-linux-x64');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'q-engine.json'), '{}');
    const { err } = await runCommand(setUp);
    expect(err).toMatch(/tfjs-node does not compute: Error: Cannot find module .*: it is set up again/);
    expect(err).toContain('npm is not on PATH');
  });
});

describe('q engine', () => {
  it('lists every engine with its speed or why it is absent', async () => {
    const { code, out } = await runCommand(['engine', 'list', '--json', '--threads', '1']);
    expect(code).toBe(0);
    const { engines: rows, auto } = JSON.parse(out);
    expect(auto).toBe('wasm');
    expect(rows.map(({ choice, engine }: { choice: string; engine: string }) => [choice, engine])).toEqual([
      ['node', null],
      ['wasm', 'tfjs-wasm'],
      ['cpu', 'tfjs-cpu'],
    ]);
    expect(rows[0].notes.join()).toContain('q engine setup tfjs-node');
    expect(rows[1].speed.gflops).toBeGreaterThan(rows[2].speed.gflops);
    expect(rows[2].speed.gflops).toBeGreaterThan(0);
  });

  it('knows what can be set up', async () => {
    const { code, err } = await runCommand(['engine', 'setup', 'tfjsnode']);
    expect(code).toBe(1);
    expect(err).toContain('did you mean tfjs-node?');
  });
});

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { reason, runProcess } from './run-process.js';
import { EngineSetupError } from './setup-error.js';

/**
 * The wheel with the libraries, always for the same Python version, so one checksum is valid: its C API does not depend
 * on Python. `tensorflow-cpu` 2.21.0, cp311, from PyPI.
 */
export const wheel = {
  name: 'tensorflow-cpu',
  version: '2.21.0',
  tags: ['--implementation', 'cp', '--python-version', '3.11', '--abi', 'cp311', '--platform', 'manylinux_2_27_x86_64'],
  sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
} as const;

/**
 * Downloads the wheel with pip into `folder`, which must not contain other wheels.
 * @returns its path
 * @throws EngineSetupError when pip cannot get it, or its checksum differs
 */
export async function downloadWheel(
  python: string,
  folder: string,
  signal: AbortSignal,
  expected: string = wheel.sha256,
): Promise<string> {
  const wanted = `${wheel.name}==${wheel.version}`;
  const result = await runProcess(
    python,
    [
      ...['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check'],
      ...['--progress-bar', 'off', '--dest', folder, ...wheel.tags, wanted],
    ],
    { signal },
  );
  const [name] = result.code === 0 ? (await readdir(folder)).filter((file) => file.endsWith('.whl')) : [];
  if (!name) throw new EngineSetupError(`pip could not download ${wanted}: ${reason(result)}`);
  const path = join(folder, name);
  const sum = await sha256(path);
  if (sum !== expected) {
    await rm(path);
    throw new EngineSetupError(
      `${name}: the SHA-256 is ${sum}, ${expected} was expected: the index that pip uses serves another file; nothing of it was used`,
    );
  }
  return path;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The two libraries, and the 14 headers that the add-on includes, with the headers that those include. */
const extraction = `
import os, shutil, sys, zipfile
source, target = sys.argv[1:]
headers = 'tensorflow/include/'
wanted = tuple(headers + name for name in
  ('tensorflow/c/', 'tensorflow/core/platform/ctstring', 'tsl/platform/ctstring', 'xla/tsl/c/'))
with zipfile.ZipFile(source) as archive:
  for entry in archive.infolist():
    name = entry.filename
    if name in ('tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'):
      path = os.path.join(target, 'lib', os.path.basename(name))
    elif name.startswith(wanted) and name.endswith('.h'):
      path = os.path.join(target, 'include', name[len(headers):])
    else:
      continue
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(entry) as file, open(path, 'wb') as out:
      shutil.copyfileobj(file, out, 1 << 20)
`;

/**
 * Unpacks libraries and headers into `deps`, the folder in which tfjs-node looks for them, with the names of a
 * libtensorflow release. `libtensorflow_cc.so.2` contains the whole C API.
 * @throws EngineSetupError when the wheel cannot be read or the disk is full
 */
export async function unpackWheel(python: string, path: string, deps: string, signal: AbortSignal): Promise<void> {
  const result = await runProcess(python, ['-c', extraction, path, deps], { signal });
  if (result.code !== 0) {
    throw new EngineSetupError(`${path}: could not be unpacked into ${deps}: ${result.err.trim().split('\n').at(-1)}`);
  }
  const lib = join(deps, 'lib');
  await symlink('libtensorflow_cc.so.2', join(lib, 'libtensorflow.so'));
  await symlink('libtensorflow_cc.so.2', join(lib, 'libtensorflow.so.2'));
  await symlink('libtensorflow_framework.so.2', join(lib, 'libtensorflow_framework.so'));
}

import { mkdir, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes } from '../units.js';
import { runProcess } from './run-process.js';
import { EngineSetupError } from './setup-error.js';

/** Paths of the programs that the set-up runs. */
export interface Toolchain {
  readonly npm: string;
  readonly python: string;
  readonly compiler: string;
}

/** Peak during the set-up: npm packages 0.3 GB, wheel 0.27 GB, libraries 0.85 GB. 1.2 GB stay. */
const bytesNeeded = 1.6e9;

export const requirementsText = [
  'tfjs-node on the libraries of TensorFlow needs:',
  '  Linux on x86-64 with glibc 2.27 or newer',
  '  npm and Python 3 with pip, which reach their registries (275 MB from PyPI, 40 MB from npm)',
  '  a C++17 compiler: c++, g++ or clang++ (or the one that CXX names)',
  `  ${formatBytes(bytesNeeded)} of disk while it works, 1.2 GB after`,
].join('\n');

/**
 * Looks for all requirements of the set-up before it starts.
 * @throws EngineSetupError with a list of the missing ones
 */
export async function checkRequirements(folder: string, signal: AbortSignal): Promise<Toolchain> {
  const missing: string[] = [];
  const platform = wrongPlatform();
  if (platform) missing.push(platform);
  const runs = async (command: string, argv: readonly string[]) =>
    (await runProcess(command, argv, { signal, timeoutSeconds: 60 })).code === 0;
  const first = async (commands: readonly string[], argv: readonly string[]) => {
    for (const command of commands) if (await runs(command, argv)) return command;
    return undefined;
  };
  const npm = await first(['npm'], ['--version']);
  if (!npm) missing.push('npm is not on PATH');
  const python = await first(['python3', 'python'], ['-c', 'import sys, zipfile; sys.exit(sys.version_info < (3, 8))']);
  if (!python) missing.push('Python 3.8 or newer is not on PATH (python3 or python)');
  else if (!(await runs(python, ['-m', 'pip', '--version'])))
    missing.push(`${python} has no pip (Debian and Ubuntu: apt install python3-pip)`);
  const named = process.env['CXX'];
  const compiler = await first(named ? [named] : ['c++', 'g++', 'clang++'], ['--version']);
  if (!compiler)
    missing.push(
      named
        ? `CXX names "${named}", which does not run`
        : 'no C++ compiler on PATH: c++, g++ or clang++ (Debian and Ubuntu: apt install g++)',
    );
  const free = await freeBytes(folder);
  if (free < bytesNeeded)
    missing.push(
      `${folder}: ${formatBytes(free)} free, ${formatBytes(bytesNeeded)} needed (QUANT_CACHE names another folder)`,
    );
  if (!npm || !python || !compiler || missing.length > 0) {
    throw new EngineSetupError(`tfjs-node cannot be set up here: ${missing.join('; ')}. Nothing was changed.`);
  }
  return { npm, python, compiler };
}

function wrongPlatform(): string | undefined {
  const here = `${process.platform} ${process.arch}`;
  if (here !== 'linux x64') return `this is ${here}, and the libraries are pinned for linux x64`;
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const glibc = report?.header?.glibcVersionRuntime;
  if (!glibc) return 'this system has no glibc (musl, as in Alpine), which the libraries are linked with';
  const [major, minor] = glibc.split('.').map(Number) as [number, number];
  return major > 2 || minor >= 27 ? undefined : `glibc ${glibc} is older than 2.27`;
}

/** Free bytes for this user in `folder`, or in the folder where it would be. */
async function freeBytes(folder: string): Promise<number> {
  try {
    await mkdir(folder, { recursive: true });
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    throw new EngineSetupError(
      `${folder}: cannot be made in ${dirname(folder)} (${(error as Error).message}): QUANT_CACHE names another folder`,
    );
  }
}

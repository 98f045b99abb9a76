import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readyFile, tfjsNodeFolder, tfjsNodeVersion } from '@q/tfjs';
import { checkTfjsNode } from './check-tfjs-node.js';
import { compileAddon } from './compile-addon.js';
import { downloadWheel, unpackWheel, wheel } from './libtensorflow-wheel.js';
import { installPackages } from './npm-packages.js';
import { checkRequirements, requirementsText, type Toolchain } from './requirements.js';
import { reason, runProcess } from './run-process.js';

export interface SetupOptions {
  /** Set up again, even if the engine works. */
  readonly force: boolean;
  /** Called before each step. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

export interface SetupResult {
  readonly folder: string;
  /** False when it was ready before. */
  readonly changed: boolean;
  /** The contents of the folder, from its `q-engine.json`. */
  readonly contents: SetupContents;
}

interface SetupContents {
  readonly tfjsNode: string;
  readonly tensorflow: string;
  /** The source of libtensorflow. */
  readonly source: string;
}

/**
 * Sets up `@tensorflow/tfjs-node` in the cache folder, where `createEngine` finds it. All work happens in a folder next
 * to it, which gets its final name only after the engine has computed right values. So an interrupted or failed set-up
 * never looks like a finished one. A second call checks the existing engine and changes nothing.
 * @throws EngineSetupError when something is missing, a step fails or a checksum differs
 */
export async function setUpTfjsNode({ force, note, signal }: SetupOptions): Promise<SetupResult> {
  const folder = tfjsNodeFolder();
  if (!force) {
    const contents = await readySetup(folder, note, signal);
    if (contents) return { folder, changed: false, contents };
  }
  const parent = dirname(folder);
  note(requirementsText);
  const tools = await checkRequirements(parent, signal);
  await removeAbandoned(parent, basename(folder));
  const work = await mkdtemp(join(parent, `.${basename(folder)}-${process.pid}-`));
  try {
    const source = await build(work, tools, note, signal);
    const tensorflow = await checkTfjsNode(work, signal);
    const contents: SetupContents = { tfjsNode: tfjsNodeVersion, tensorflow, source };
    await writeFile(join(work, readyFile), `${JSON.stringify(contents, null, 2)}\n`);
    await rm(folder, { recursive: true, force: true });
    await rename(work, folder);
    return { folder, changed: true, contents };
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}

/** The result of an earlier set-up, if it still computes. */
async function readySetup(
  folder: string,
  note: SetupOptions['note'],
  signal: AbortSignal,
): Promise<SetupContents | undefined> {
  if (!existsSync(join(folder, readyFile))) return undefined;
  try {
    await checkTfjsNode(folder, signal);
    return JSON.parse(await readFile(join(folder, readyFile), 'utf8'));
  } catch (error) {
    signal.throwIfAborted();
    note(`${(error as Error).message}: it is set up again`);
    return undefined;
  }
}

/** @returns the source of libtensorflow */
async function build(
  work: string,
  { npm, python, compiler }: Toolchain,
  note: SetupOptions['note'],
  signal: AbortSignal,
): Promise<string> {
  note(`1/4 npm packages: tfjs-node ${tfjsNodeVersion}`);
  await installPackages(npm, work, signal);
  const packageFolder = join(work, 'node_modules', '@tensorflow', 'tfjs-node');

  note('2/4 the installer of tfjs-node');
  const refusal = await ownInstaller(work, packageFolder, signal);
  if (!refusal) return 'the installer of tfjs-node';
  note(`    could not get libtensorflow (${refusal}): the libraries of ${wheel.name} ${wheel.version} are used`);

  note(`3/4 ${wheel.name} ${wheel.version} from PyPI, 274 MB`);
  const download = join(work, 'wheel');
  await mkdir(download);
  const path = await downloadWheel(python, download, signal);
  await unpackWheel(python, path, join(packageFolder, 'deps'), signal);
  await rm(download, { recursive: true });

  note('4/4 compiling the add-on');
  await compileAddon(compiler, packageFolder, join(work, 'node_modules', 'node-api-headers', 'include'), signal);
  return `${wheel.name} ${wheel.version}, sha256 ${wheel.sha256}`;
}

/**
 * Runs the package's own installer, which downloads libtensorflow 2.9.1 and an add-on for it. After a failure nothing
 * of it stays.
 * @returns the reason of the failure; undefined when the backend computes
 */
async function ownInstaller(work: string, packageFolder: string, signal: AbortSignal): Promise<string | undefined> {
  const result = await runProcess(process.execPath, [join('scripts', 'install.js')], {
    cwd: packageFolder,
    // It calls node-pre-gyp by name.
    path: join(work, 'node_modules', '.bin'),
    signal,
    timeoutSeconds: 300,
  });
  let refusal: string | undefined;
  // It exits with 0 after some failures, so the check is whether the backend computes.
  if (result.code !== 0) refusal = reason(result);
  else {
    refusal = await checkTfjsNode(work, signal).then(
      () => undefined,
      (error: Error) => {
        signal.throwIfAborted();
        return error.message;
      },
    );
  }
  if (refusal)
    for (const name of ['deps', 'lib', 'build']) await rm(join(packageFolder, name), { recursive: true, force: true });
  return refusal;
}

/** Removes the folders of killed set-ups, and not those of running processes. */
async function removeAbandoned(parent: string, name: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    const pid = entry.startsWith(`.${name}-`) ? Number(entry.slice(name.length + 2).split('-')[0]) : Number.NaN;
    if (pid > 0 && !isRunning(pid)) await rm(join(parent, entry), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

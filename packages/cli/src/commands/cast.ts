import { join, resolve } from 'node:path';
import { auditCast, type CastDtype, castDtypes, type LossyTensor, planCast, writeCast } from '@q/checkpoint';
import { NumericError } from '@q/core';
import { type FileSystem, lockFile, makeFolders, removeFolders, writeFileDurably } from '@q/durable-files';
import { OutputFolderError } from '@q/pipeline';
import type { CommandContext } from '../command.js';
import { InterruptedError } from '../interrupted-error.js';
import { openModel } from '../open-model.js';
import { formatBytes, formatSeconds } from '../units.js';
import { UsageError } from '../usage-error.js';

export interface CastCommandOptions {
  readonly dtype?: string;
  readonly outside?: string;
  readonly json?: boolean;
}

const lockName = 'q-lock.json';
/** A file in the folder until the folder is complete: if it exists, a cast was killed. */
const unfinishedName = 'q-cast.partial';
/** Largest number of tensors in one message. */
const mostNamed = 8;

/** `q cast MODEL OUT --dtype NAME`: the same model with its floating-point tensors in another dtype. */
export async function castCommand(
  path: string,
  out: string,
  options: CastCommandOptions,
  { terminal, signal, vocabulary, files }: CommandContext,
): Promise<void> {
  const dtype = options.dtype as CastDtype | undefined;
  if (!dtype) throw new UsageError(`--dtype is needed: ${Object.keys(castDtypes).join(', ')}`);
  await refuseOther(out, files);
  const started = performance.now();
  const source = await openModel(path, vocabulary);
  try {
    const { progress } = terminal;
    let plan = planCast(source, dtype);
    const lossy = await auditCast(source, plan, { signal, progress });
    const harmed = lossy.filter(({ harmful }) => harmful);
    if (harmed.length > 0 && options.outside !== 'keep') throw new NumericError(refusal(path, dtype, harmed));
    if (harmed.length > 0) plan = planCast(source, dtype, new Set(harmed.map(({ name }) => name)));
    const notes = [
      ...source.notes,
      ...source.ignoredFiles.map((file) => `${file} is a weight file of another kind and is not copied`),
      ...lossy.map(
        (tensor) =>
          `${describe(tensor, dtype)}${tensor.harmful ? `: it stays in ${tensor.dtype}` : ', less than the rounding error of its largest value'}`,
      ),
      ...(harmed.length > 0
        ? [`config.json says ${castDtypes[dtype]}: a loader that turns every tensor into that dtype loses these values`]
        : []),
      ...(plan.notFloat.length > 0 ? [`${plan.notFloat.join(', ')}: not floating-point, copied as it is`] : []),
    ];
    for (const note of notes) terminal.note(`note: ${note}`);
    const records = await inFolder(out, files, () => writeCast(source, plan, out, { signal, progress, files }));
    const bytesAfter = records.reduce((sum, { file, bytes }) => sum + (file.endsWith('.safetensors') ? bytes : 0), 0);
    const seconds = (performance.now() - started) / 1000;
    if (options.json)
      terminal.printJson({
        ...{ model: path, out, dtype, cast: plan.cast.length, tensors: source.tensors.size },
        ...{ bytesBefore: source.bytes, bytesAfter, outside: lossy, files: records, seconds, notes },
      });
    else
      terminal.print(
        `${out}: ${plan.cast.length} of ${source.tensors.size} tensors in ${dtype}, ${formatBytes(source.bytes)} -> ${formatBytes(bytesAfter)} in ${formatSeconds(seconds)}`,
      );
  } catch (error) {
    if (signal.aborted) throw new InterruptedError('Interrupted. Nothing was left behind.');
    throw error;
  } finally {
    await source.close();
  }
}

/** @throws OutputFolderError when the folder has content other than that of a killed cast */
async function refuseOther(out: string, files: FileSystem): Promise<readonly string[]> {
  const info = await files.info(out);
  if (info && !info.isFolder) throw new OutputFolderError(`${out}: is a file; an output folder was expected`);
  const names = ((await files.list(out)) ?? []).filter((name) => !name.startsWith(lockName));
  if (names.length > 0 && !names.some((name) => name.startsWith(unfinishedName)))
    throw new OutputFolderError(`${out}: exists and is not empty: choose another output folder or remove it`);
  return names;
}

/** Makes and locks the folder, and leaves it complete or removes it. */
async function inFolder<T>(out: string, files: FileSystem, write: () => Promise<T>): Promise<T> {
  await makeFolders(resolve(out), { files });
  const lock = await lockFile(join(out, lockName), out, { files });
  let whole = false;
  const clear = async (names: readonly string[]) => {
    for (const name of names) {
      const inside = join(out, name);
      if ((await files.info(inside))?.isFolder) await removeFolders(inside, { files });
      else await files.remove(inside);
    }
  };
  let ours = false;
  try {
    const left = await refuseOther(out, files);
    ours = true;
    // The mark is removed last: without it the rest would look like someone else's files.
    await clear(left.filter((name) => name !== unfinishedName));
    await writeFileDurably(join(out, unfinishedName), '', { files });
    const result = await write();
    await files.remove(join(out, unfinishedName));
    whole = true;
    return result;
  } finally {
    if (ours && !whole) {
      const names = ((await files.list(out).catch(() => [])) ?? []).filter((name) => !name.startsWith(lockName));
      await clear(names.sort((a, b) => Number(a === unfinishedName) - Number(b === unfinishedName))).catch(() => {});
    }
    await lock.release();
    if (!whole && ((await files.list(out)) ?? []).length === 0) await files.removeFolder(out).catch(() => {});
  }
}

function refusal(path: string, dtype: CastDtype, lossy: readonly LossyTensor[]): string {
  const named = lossy.slice(0, mostNamed).map((tensor) => describe(tensor, dtype));
  const rest = lossy.length > mostNamed ? `; and ${lossy.length - mostNamed} more tensors` : '';
  return `${path}: ${named.join('; ')}${rest}: nothing was written: give --outside keep, and these keep their dtype, or choose another --dtype`;
}

function describe({ name, dtype, over, under }: LossyTensor, to: CastDtype): string {
  const parts = [
    ...(over.count > 0
      ? [`${over.count} values become infinite in ${to}, the largest ${over.largest.toPrecision(4)}`]
      : []),
    ...(under.count > 0
      ? [`${under.count} values become zero in ${to}, the largest ${under.largest.toPrecision(4)}`]
      : []),
  ];
  return `tensor ${name} (${dtype}): ${parts.join(', ')}`;
}

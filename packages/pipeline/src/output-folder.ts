import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { QuantError } from '@q/core';
import { journalIdentity, journalName } from './journal.js';
import { sensitivityName } from './sensitivity.js';
import { writtenTextName } from './written-text.js';

/**
 * The output folder exists and is neither empty nor an interrupted run of the same recipe, model and calibration data.
 */
export class OutputFolderError extends QuantError {
  override name = 'OutputFolderError';
}

/** What is made before the run, and kept in its folder while it lasts. */
export const preparations = [sensitivityName, writtenTextName];

/**
 * Refuses an output folder that holds something else than an interrupted run, before anything is computed for it.
 * @throws OutputFolderError
 */
export async function checkOutputFolder(out: string): Promise<void> {
  const info = await stat(out).catch(() => undefined);
  if (!info) return;
  if (!info.isDirectory()) throw new OutputFolderError(`${out}: is a file; an output folder was expected`);
  const names = await readdir(out);
  if (names.length > 0 && ![journalName, ...preparations].some((name) => names.includes(name)))
    throw new OutputFolderError(notOurs(out));
}

const notOurs = (out: string) =>
  `${out}: exists, is not empty and is not an interrupted run: choose another output folder or remove it`;

/** What is said when a run was begun with another engine or other kernels. */
export const otherEngine = (out: string, earlier: string, own: string) =>
  `${out}: holds an interrupted run that was computed with ${earlier}; this one computes with ${own}, whose last bits differ: choose the same engine to resume it, or another folder`;

/** Makes the folder, or finds an interrupted run of the same identity in it. */
export async function prepareFolder(out: string, identity: string): Promise<boolean> {
  const info = await stat(out).catch(() => undefined);
  if (!info) {
    await makeFolder(resolve(out)).catch((error: NodeJS.ErrnoException) => {
      throw new OutputFolderError(`${out}: the folder cannot be made (${error.code}): choose another output folder`);
    });
    return false;
  }
  if (!info.isDirectory()) throw new OutputFolderError(`${out}: is a file; an output folder was expected`);
  const names = (await readdir(out)).filter((name) => !preparations.includes(name));
  if (names.length === 0) return false;
  const found = await journalIdentity(join(out, journalName));
  if (found === identity) return true;
  throw new OutputFolderError(
    found === undefined
      ? notOurs(out)
      : `${out}: holds an interrupted run of another recipe, model or calibration text: give the same ones to resume it, or choose another folder`,
  );
}

/** Makes a folder and what it lies in. Node's own `recursive` never returns where an existing parent answers ENOENT (/proc). */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || (await stat(parent).catch(() => undefined))) throw error;
    await makeFolder(parent);
    await mkdir(path);
  }
}

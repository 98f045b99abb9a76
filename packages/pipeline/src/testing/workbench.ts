import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';

/** A folder and kernels for tests that write folders. */
export interface Workbench {
  /** A new folder for each test, which is removed after it. */
  readonly folder: string;
  /** Kernels for all tests of the file; one thread by default. */
  readonly kernels: Kernels;
}

/** Sets up a workbench for the tests of the calling file. */
export function workbench(threads = 1): Workbench {
  let folder = '';
  let kernels: Kernels;
  beforeAll(async () => {
    kernels = await createWasmKernels({ threads });
  });
  afterAll(() => kernels.dispose());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'q-pipeline-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  return {
    get folder() {
      return folder;
    },
    get kernels() {
      return kernels;
    },
  };
}

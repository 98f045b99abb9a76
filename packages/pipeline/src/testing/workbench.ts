import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';

/** What tests that write folders need. */
export interface Workbench {
  /** Another one for each test, removed after it. */
  readonly folder: string;
  /** One thread unless asked otherwise, for all tests of the file. */
  readonly kernels: Kernels;
}

/** Sets up a workbench around the tests of the file that calls it. */
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

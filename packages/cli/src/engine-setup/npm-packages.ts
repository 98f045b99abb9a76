import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reason, runProcess } from './run-process.js';
import { EngineSetupError } from './setup-error.js';

/** The packages that are compiled or that decide what is computed, with the checksums of their tarballs on npm. */
export const pinned = {
  '@tensorflow/tfjs-node': {
    version: '4.22.0',
    integrity: 'sha512-uHrXeUlfgkMxTZqHkESSV7zSdKdV0LlsBeblqkuKU9nnfxB1pC6DtoyYVaLxznzZy7WQSegjcohxxCjAf6Dc7w==',
  },
  '@tensorflow/tfjs': {
    version: '4.22.0',
    integrity: 'sha512-0TrIrXs6/b7FLhLVNmfh8Sah6JgjBPH4mZ8JGb7NU6WW+cx00qK5BcAZxw7NCzxj6N8MRAIfHq+oNbPUNG5VAg==',
  },
  '@tensorflow/tfjs-core': {
    version: '4.22.0',
    integrity: 'sha512-LEkOyzbknKFoWUwfkr59vSB68DMJ4cjwwHgicXN0DUi3a0Vh1Er3JQqCI1Hl86GGZQvY8ezVrtDIvqR1ZFW55A==',
  },
  // Node's own headers come from another server; those of N-API are on npm, and the add-on needs no others.
  'node-api-headers': {
    version: '1.9.0',
    integrity: 'sha512-2oNILP4jXwRB4ywnYKjVk1YyJ96n2D4EOVJO6S3oYZ5PtbJrw3Yt9TpAuX3nBLMuzn74rnfGQrv13pS9vC+YiA==',
  },
} as const;

/**
 * Installs tfjs-node and the headers of N-API into `folder/node_modules`, without running scripts.
 * @throws EngineSetupError when npm fails, or a package differs from the pinned one
 */
export async function installPackages(npm: string, folder: string, signal: AbortSignal): Promise<void> {
  const dependencies = Object.fromEntries(Object.entries(pinned).map(([name, { version }]) => [name, version]));
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'q-engine', private: true, dependencies }));
  const result = await runProcess(npm, ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    signal,
  });
  if (result.code !== 0) throw new EngineSetupError(`npm could not install tfjs-node: ${reason(result)}`);
  const lock = JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string; integrity?: string }>;
  };
  for (const [name, { version, integrity }] of Object.entries(pinned)) {
    const copies = Object.entries(lock.packages).filter(([path]) => path.endsWith(`node_modules/${name}`));
    const [copy] = copies;
    // Two copies of tfjs-core would have different tensor classes.
    if (copies.length !== 1 || !copy || copy[1].version !== version || copy[1].integrity !== integrity) {
      const found = copies.map(([path, entry]) => `${path} ${entry.version} ${entry.integrity}`).join(', ');
      throw new EngineSetupError(
        `${name}: npm installed ${found || 'nothing'}; one copy of ${version} with ${integrity} was expected`,
      );
    }
  }
}

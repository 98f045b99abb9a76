import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reason, runProcess } from './run-process.js';
import { EngineSetupError } from './setup-error.js';

/** N-API 8: the newest that tfjs-node 4.22 looks for, in Node since 15.12. The add-on works in every later Node. */
const napiVersion = 8;

/**
 * Compiles the add-on of tfjs-node against `deps` into the folder where the package looks for it. Two source files need
 * no build system, and node-gyp would download Node's headers, while those of N-API are enough.
 * @throws EngineSetupError with the compiler's first error
 */
export async function compileAddon(
  compiler: string,
  packageFolder: string,
  napiHeaders: string,
  signal: AbortSignal,
): Promise<void> {
  const target = join(packageFolder, 'lib', `napi-v${napiVersion}`);
  await mkdir(target, { recursive: true });
  const result = await runProcess(
    compiler,
    [
      ...['-std=c++17', '-O2', '-fPIC', '-shared', `-DNAPI_VERSION=${napiVersion}`],
      ...['-I', 'deps/include', '-I', napiHeaders],
      ...['binding/tfjs_backend.cc', 'binding/tfjs_binding.cc'],
      ...['-o', join(target, 'tfjs_binding.node')],
      // Relative to the add-on, so the folder can be moved.
      ...['-L', 'deps/lib', '-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib'],
    ],
    { cwd: packageFolder, signal },
  );
  if (result.code !== 0) throw new EngineSetupError(`${compiler} could not compile the add-on: ${reason(result)}`);
}

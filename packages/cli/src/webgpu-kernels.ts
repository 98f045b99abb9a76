import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fallbackKernels, type Kernels } from '@q/core';
import { createWebgpuKernels, openGpu } from '@q/kernels-webgpu';

/** The used part of the npm package `webgpu` (Dawn). */
interface Dawn {
  create(options: readonly string[]): GPU;
}

/**
 * Kernels on the GPU of this machine through the npm package `webgpu`. It is not a dependency (it has 90 MB of
 * binaries), and is loaded from the current folder, or from the folder of the command.
 * @param host does the work that needs f64, and all work after the device fails; disposed with these
 * @param note called with the description of the GPU, or when it failed and `host` goes on
 * @throws Error with the reason why there is no GPU
 */
export async function openWebgpuKernels(host: Kernels, note: (text: string) => void): Promise<Kernels> {
  const { create } = await loadDawn();
  let gpu: GPU | undefined = create([]);
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    gpu = undefined;
    throw new Error('no adapter: this machine has no GPU with a Vulkan, Metal or Direct3D 12 driver');
  }
  const { limits } = adapter;
  const device = await adapter.requestDevice({
    requiredFeatures: ['shader-f16', 'subgroups'].filter((name) => adapter.features.has(name)) as GPUFeatureName[],
    requiredLimits: {
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
    },
  });
  const options = { device, wgslLanguageFeatures: gpu.wgslLanguageFeatures };
  note(`kernels on WebGPU: ${openGpu(options).description}`);
  const kernels = fallbackKernels(createWebgpuKernels({ ...options, host }), host, (reason) =>
    note(`${reason.message}; the kernels ${host.name} went on from there`),
  );
  return {
    ...kernels,
    get name() {
      return kernels.name;
    },
    async dispose() {
      // Dawn keeps the process alive as long as a reference to it exists.
      device.destroy();
      gpu = undefined;
      await host.dispose();
    },
  };
}

async function loadDawn(): Promise<Dawn> {
  const failures: string[] = [];
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      return (await import(pathToFileURL(createRequire(from).resolve('webgpu')).href)) as Dawn;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'MODULE_NOT_FOUND') failures.push(message.split('\n')[0]!);
    }
  }
  throw new Error(failures[0] ?? 'the npm package webgpu is not installed here: npm install webgpu');
}

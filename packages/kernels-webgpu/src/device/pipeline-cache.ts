import { KernelError } from '@q/core';
import type { KernelSource } from '../wgsl/module.js';

export interface PipelineCache {
  /** The pipeline of a kernel. Each text is compiled once. @throws KernelError with the compiler's message */
  get(source: KernelSource): Promise<GPUComputePipeline>;
  /** Pipelines compiled so far. */
  readonly size: number;
}

export function createPipelineCache(device: GPUDevice): PipelineCache {
  const pipelines = new Map<string, Promise<GPUComputePipeline>>();
  const compile = async ({ label, code }: KernelSource): Promise<GPUComputePipeline> => {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code });
    const invalid = device.popErrorScope();
    const { messages } = await module.getCompilationInfo();
    const errors = messages.filter(({ type }) => type === 'error');
    if (errors.length > 0) {
      const { lineNum, message } = errors[0];
      throw new KernelError(`the device's compiler refuses kernel ${label}, line ${lineNum}: ${message}`);
    }
    const refusal = await invalid;
    if (refusal) throw new KernelError(`the device refuses kernel ${label}: ${refusal.message}`);
    try {
      return await device.createComputePipelineAsync({
        label,
        layout: 'auto',
        compute: { module, entryPoint: 'main' },
      });
    } catch (error) {
      throw new KernelError(`the device cannot run kernel ${label}: ${(error as Error).message}`, { cause: error });
    }
  };
  return {
    get size() {
      return pipelines.size;
    },
    get(source) {
      let pipeline = pipelines.get(source.code);
      if (!pipeline) {
        pipeline = compile(source);
        pipelines.set(source.code, pipeline);
      }
      return pipeline;
    },
  };
}

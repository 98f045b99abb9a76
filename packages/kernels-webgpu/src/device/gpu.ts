/// <reference types="@webgpu/types" />
import { KernelError } from '@q/core';
import type { KernelSource } from '../wgsl/module.js';
import { type Buffers, createBuffers, GPU_COPY_DST, GPU_MAP_READ, GPU_UNIFORM } from './buffers.js';
import { type Capabilities, capabilitiesOf } from './capabilities.js';
import { createPipelineCache } from './pipeline-cache.js';
import { gpuShapes, isProcessor, processorShapes, type Shapes } from './shapes.js';

export interface GpuOptions {
  /** The caller's device. Neither the kernels nor `dispose` destroy it. */
  readonly device: GPUDevice;
  /** `navigator.gpu.wgslLanguageFeatures`. Without it products of bytes do not use `dot4I8Packed`. */
  readonly wgslLanguageFeatures?: { has(name: string): boolean };
  /** Capabilities that are turned off, for comparisons or to avoid a bug of a driver. */
  readonly without?: readonly (keyof Capabilities)[];
  /** The division of work into workgroups. Default: chosen by the device's description. */
  readonly shapes?: Shapes;
}

/** One kernel with its buffers, ready to be recorded. */
export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [x: number, y: number, z: number];
}

/** The parts that all kernels share: the device, its capabilities, its pipelines and its buffers. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly capabilities: Capabilities;
  readonly buffers: Buffers;
  readonly shapes: Shapes;
  /** The device in words: vendor, architecture, description. */
  readonly description: string;
  /** Compiles the kernel (once) and binds its buffers. Storage buffers are in the order of the kernel's bindings. */
  prepare(
    source: KernelSource,
    parameters: Readonly<Record<string, number>>,
    storage: readonly GPUBuffer[],
    workgroups: readonly [x: number, y?: number, z?: number],
  ): Promise<Dispatch>;
  /**
   * Runs kernels one after the other, then fills `into` with the first bytes of `from`. All of it is one submission,
   * which is made before the promise is returned.
   * @throws KernelError when the device refuses or is lost
   */
  run(
    dispatches: readonly Dispatch[],
    result?: { readonly from: GPUBuffer; readonly into: ReadableArray },
  ): Promise<void>;
  /** Copies `out.byteLength` bytes to the host. */
  read<T extends ReadableArray>(buffer: GPUBuffer, out: T): Promise<T>;
  /** @throws KernelError when the device is lost */
  check(): void;
}

export type ReadableArray = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** Records kernels into a compute pass that the caller has begun. */
export function record(pass: GPUComputePassEncoder, dispatches: readonly Dispatch[]): void {
  for (const { pipeline, group, workgroups } of dispatches) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...workgroups);
  }
}

/** Opens a device for the kernels. Nothing is compiled or allocated yet. */
export function openGpu({ device, wgslLanguageFeatures, without = [], ...options }: GpuOptions): Gpu {
  if (!device?.limits || typeof device.createShaderModule !== 'function')
    throw new KernelError('the WebGPU kernels take a GPUDevice: request one from an adapter, and hand it in');
  const pipelines = createPipelineCache(device);
  const buffers = createBuffers(device);
  const found = capabilitiesOf(device.features, wgslLanguageFeatures);
  const capabilities = { ...found, ...Object.fromEntries(without.map((name) => [name, false])) };
  const info = device.adapterInfo;
  const shapes = options.shapes ?? (isProcessor(info) ? processorShapes : gpuShapes);
  const description =
    [info?.vendor, info?.architecture, info?.description].filter(Boolean).join(' ') || 'unnamed device';
  let lost: GPUDeviceLostInfo | undefined;
  const whenLost = device.lost.then((why) => {
    lost = why;
  });
  const check = () => {
    if (lost) {
      throw new KernelError(
        `the WebGPU device is lost (${lost.reason || 'unknown'}: ${lost.message || 'no message'}): request a new one, or use other kernels`,
      );
    }
  };
  /**
   * Waits for a promise of the device. A lost device need not settle its own promises, so its loss ends the wait too.
   */
  const wait = async <T>(promise: Promise<T>): Promise<T> => {
    const nothing = Symbol();
    const result = await Promise.race([promise, whenLost.then(() => nothing)]).catch((error) => {
      check();
      if (error instanceof KernelError) throw error;
      throw new KernelError(`the WebGPU device failed: ${(error as Error).message}`, { cause: error });
    });
    if (result === nothing) check();
    return result as T;
  };
  const run: Gpu['run'] = async (dispatches, result) => {
    check();
    const size = result ? Math.ceil(result.into.byteLength / 4) * 4 : 0;
    // Errors are collected while the device works. Out of memory is distinguished from other errors.
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    const usage = GPU_MAP_READ | GPU_COPY_DST;
    const staging = size > 0 ? device.createBuffer({ label: 'readback', size, usage }) : undefined;
    const encoder = device.createCommandEncoder();
    if (dispatches.length > 0) {
      const pass = encoder.beginComputePass();
      record(pass, dispatches);
      pass.end();
    }
    if (staging && result) encoder.copyBufferToBuffer(result.from, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    const scopes = Promise.all([device.popErrorScope(), device.popErrorScope()]);
    // A device that refuses the copy refuses the map too. The first error is reported.
    const mapped = staging?.mapAsync(GPU_MAP_READ).then(
      () => undefined,
      (error: Error) => error,
    );
    try {
      const [[invalid, memory], unmapped] = await wait(Promise.all([scopes, mapped]));
      if (memory) {
        throw new KernelError(
          `the WebGPU device is out of memory (${buffers.bytes} bytes are held by these kernels): free weights, or use other kernels`,
        );
      }
      if (invalid) throw new KernelError(`the WebGPU device refuses a kernel: ${invalid.message}`);
      check();
      if (unmapped) throw new KernelError(`the WebGPU device failed: ${unmapped.message}`, { cause: unmapped });
      if (staging && result) {
        const { into } = result;
        const bytes = new Uint8Array(staging.getMappedRange(), 0, into.byteLength);
        new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(bytes);
      }
    } finally {
      staging?.destroy();
    }
  };
  return {
    device,
    capabilities,
    buffers,
    shapes,
    description,
    check,
    async prepare(source, parameters, storage, [x, y = 1, z = 1]) {
      check();
      const most = device.limits.maxComputeWorkgroupsPerDimension;
      if (Math.max(x, y, z) > most) {
        throw new KernelError(
          `${source.label} needs ${x} x ${y} x ${z} workgroups, the device allows ${most} in a dimension: split the rows`,
        );
      }
      const pipeline = await wait(pipelines.get(source));
      const uniform = device.createBuffer({
        label: `${source.label} parameters`,
        size: Math.max(16, Math.ceil(Object.keys(source.parameters).length / 4) * 16),
        usage: GPU_UNIFORM,
        mappedAtCreation: true,
      });
      const view = new DataView(uniform.getMappedRange());
      Object.entries(source.parameters).forEach(([name, type], i) => {
        const value = parameters[name];
        if (value === undefined) throw new KernelError(`${source.label}: parameter ${name} is missing`);
        if (type === 'u32') view.setUint32(4 * i, value, true);
        else view.setFloat32(4 * i, value, true);
      });
      uniform.unmap();
      const group = device.createBindGroup({
        label: source.label,
        layout: pipeline.getBindGroupLayout(0),
        entries: [uniform, ...storage].map((buffer, binding) => ({ binding, resource: { buffer } })),
      });
      return { pipeline, group, workgroups: [x, y, z] };
    },
    run,
    async read(buffer, out) {
      await run([], { from: buffer, into: out });
      return out;
    },
  };
}

/** Workgroups of a one-dimensional kernel, spread over two dimensions if one is not enough. */
export function linearWorkgroups(gpu: Gpu, items: number, size: number): [number, number] {
  const count = Math.max(1, Math.ceil(items / size));
  const most = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  const x = Math.min(count, most);
  return [x, Math.ceil(count / x)];
}

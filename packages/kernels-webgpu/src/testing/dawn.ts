import { create, globals } from 'webgpu';
import { quickShapes, type Shapes } from '../device/shapes.js';

/** A device, and the WGSL features of its `GPU` object. */
export interface TestDevice {
  readonly name: string;
  readonly device: GPUDevice;
  readonly wgslLanguageFeatures: { has(name: string): boolean };
  readonly shapes: Shapes;
  /** Destroys the device, and removes all references to Dawn, which keep the process alive. */
  close(): void;
}

let reported = false;

/**
 * Dawn's device on this machine's Vulkan driver. Without a driver it is undefined, and one line with the reason is
 * printed. The backend `null` needs no driver: it compiles and validates everything and computes nothing.
 */
export async function openDawn(
  options: { backend?: 'null'; limits?: Record<string, number>; features?: readonly string[] } = {},
): Promise<TestDevice | undefined> {
  Object.assign(globalThis, globals);
  let gpu: GPU | undefined = create(options.backend ? [`backend=${options.backend}`] : []);
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    if (process.env['Q_WEBGPU'] === 'required')
      throw new Error('no WebGPU adapter, and Q_WEBGPU says that there is one');
    if (!reported) {
      console.error(
        '[kernels-webgpu] no Vulkan driver on this machine: kernels are compiled, but not run (tooling/clients/webgpu runs them on a software driver)',
      );
    }
    reported = true;
    return undefined;
  }
  const wanted = options.features ?? ['shader-f16', 'subgroups'];
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((name) => adapter.features.has(name)) as GPUFeatureName[],
    requiredLimits: options.limits ?? {},
  });
  const name = [adapter.info.vendor, adapter.info.architecture, adapter.info.device].filter(Boolean).join(' ');
  return {
    name,
    device,
    shapes: quickShapes,
    wgslLanguageFeatures: gpu.wgslLanguageFeatures,
    close() {
      device.destroy();
      gpu = undefined;
    },
  };
}

import { KernelError } from '@q/core';

/** Arrays whose bytes are copied unchanged. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint16Array | Int8Array | Uint8Array;

/** Copies to a buffer must have lengths that are multiples of four bytes. */
const padded = (bytes: number) => Math.max(4, Math.ceil(bytes / 4) * 4);

/** Storage on the device. Callers split work by rows if it is larger than the largest binding, 128 MiB by default. */
export interface Buffers {
  /** The most bytes of one storage binding. */
  readonly largest: number;
  /** Bytes that are allocated and not freed yet. */
  readonly bytes: number;
  /** Allocates zeroed storage. @throws KernelError naming the limit when it is larger than the device allows */
  create(bytes: number, label: string): GPUBuffer;
  upload(values: HostArray, label: string): GPUBuffer;
  free(...buffers: readonly (GPUBuffer | undefined)[]): void;
}

export function createBuffers(device: GPUDevice): Buffers {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  const largest = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  let bytes = 0;
  const live = new Set<GPUBuffer>();
  const make = (size: number, label: string, mappedAtCreation: boolean) => {
    if (size > largest) {
      const limit = largest === maxBufferSize ? 'maxBufferSize' : 'maxStorageBufferBindingSize';
      throw new KernelError(
        `${label} needs ${size} bytes in one binding, the device allows ${largest} (${limit}): request the device with a larger limit, or use other kernels`,
      );
    }
    const usage = GPU_STORAGE | GPU_COPY_SRC | GPU_COPY_DST;
    const buffer = device.createBuffer({ label, size, usage, mappedAtCreation });
    live.add(buffer);
    bytes += size;
    return buffer;
  };
  return {
    largest,
    get bytes() {
      return bytes;
    },
    create: (size, label) => make(padded(size), label, false),
    upload(values, label) {
      const buffer = make(padded(values.byteLength), label, true);
      new Uint8Array(buffer.getMappedRange()).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      buffer.unmap();
      return buffer;
    },
    free(...buffers) {
      for (const buffer of buffers) {
        if (!buffer || !live.delete(buffer)) continue;
        bytes -= buffer.size;
        buffer.destroy();
      }
    },
  };
}

// The values of GPUBufferUsage. Browsers have a global of that name, Node does not.
export const GPU_MAP_READ = 0x1;
const GPU_COPY_SRC = 0x4;
export const GPU_COPY_DST = 0x8;
export const GPU_UNIFORM = 0x40;
const GPU_STORAGE = 0x80;

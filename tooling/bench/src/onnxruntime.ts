import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type MatmulNBits, matmulNBitsModel } from './matmul-nbits-model.js';

interface Session {
  run(feeds: Record<string, unknown>): Promise<{ y: { data: Float32Array } }>;
  release(): Promise<void>;
}
interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => unknown;
}

/**
 * onnxruntime-node has 45 MB and is not a dependency. It is looked for in the folder in which
 * tooling/clients/webgpu/onnxruntime installs it.
 */
export function loadOnnxRuntime(): OnnxRuntime | undefined {
  const cache = process.env['QUANT_CACHE'] ?? join(homedir(), '.cache', 'q-ci');
  try {
    return createRequire(join(cache, 'onnxruntime', 'package.json'))('onnxruntime-node') as OnnxRuntime;
  } catch {
    console.log(
      '  onnxruntime-node is not there (tooling/clients/webgpu/onnxruntime installs it): only our own kernels',
    );
    return undefined;
  }
}

export interface OnnxLinear {
  multiply(x: Float32Array, tokens: number): Promise<Float32Array>;
  release(): Promise<void>;
}

/** A linear with 4-bit weights that onnxruntime computes. */
export async function onnxLinear(
  ort: OnnxRuntime,
  weight: MatmulNBits,
  options: { readonly provider: 'cpu' | 'webgpu'; readonly threads?: number },
): Promise<OnnxLinear> {
  const session = await ort.InferenceSession.create(matmulNBitsModel(weight), {
    executionProviders: [options.provider],
    logSeverityLevel: 3,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads, interOpNumThreads: 1 }),
  });
  return {
    multiply: async (x, tokens) => (await session.run({ x: new ort.Tensor('float32', x, [tokens, weight.k]) })).y.data,
    release: () => session.release(),
  };
}

/** Largest difference of two results. */
export function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0);
}

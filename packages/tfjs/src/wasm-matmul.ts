import type { Kernels } from '@q/core';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';
import { replaceKernel, type WasmBackend } from './wasm-backend.js';

/**
 * Replaces the matrix products of the wasm backend.
 *
 * The backend's own kernels have a fast path (XNNPACK, 25 to 30 GFLOP/s) for a single product without transposes, and a
 * scalar loop (2 GFLOP/s) for everything else: batched attention, every gradient, weights in the order `[out, in]`.
 * This replacement transposes operands explicitly (1 % of the product's time) and multiplies the matrices of a batch
 * one at a time through views of the heap, so all products take the fast path. Products of at least `minimumWork`
 * multiplications go to `kernels.sync` if the engine was given kernels that have it.
 *
 * Accumulation: f32, in the order of XNNPACK or of the given kernels.
 */
interface WasmMatmulRouting {
  readonly kernels?: Kernels;
  readonly minimumWork: number;
}

/** Sets the routing of the engine that is about to compute. The replaced kernels read it. */
export type WasmMatmulSwitch = (routing: WasmMatmulRouting) => void;

interface Product {
  readonly a: TensorInfo;
  readonly b: TensorInfo;
  readonly bias?: TensorInfo;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

type WasmMatmul = (aId: number, bId: number, biasId: number, outId: number, shapes: ProductShape) => void;

interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const installed = new WeakMap<Tfjs, WasmMatmulSwitch>();

/** Replaces the kernels of this tfjs once. Later calls return the same switch. */
export function installWasmMatmul(tf: Tfjs): WasmMatmulSwitch {
  const present = installed.get(tf);
  if (present) return present;
  let routing: WasmMatmulRouting = { minimumWork: Number.POSITIVE_INFINITY };

  const transposeKernel = tf.getKernel('Transpose', 'wasm').kernelFunc;

  let wrappedFor: object | undefined;
  let wasmMatmul: WasmMatmul;
  const prepare = (backend: WasmBackend): void => {
    if (wrappedFor === backend.wasm) return;
    wasmMatmul = wrapFusedMatMul(backend);
    wrappedFor = backend.wasm;
  };

  const multiply = (backend: WasmBackend, product: Product): TensorInfo => {
    prepare(backend);
    const plan = planProduct(product);
    const out = backend.makeOutput(plan.outShape, 'float32');
    const work = plan.m * plan.n * plan.k;
    const { kernels, minimumWork } = routing;
    if (kernels?.sync && work >= minimumWork) {
      multiplyWithKernels(backend, kernels.sync, product, plan, out);
      return out;
    }
    const a = product.transposeA ? transposed(backend, transposeKernel, product.a) : product.a;
    const b = product.transposeB ? transposed(backend, transposeKernel, product.b) : product.b;
    multiplyWithXnnpack(backend, wasmMatmul, { ...product, a, b }, plan, out);
    if (a !== product.a) backend.disposeData(a.dataId);
    if (b !== product.b) backend.disposeData(b.dataId);
    return out;
  };

  replaceKernel(tf, 'BatchMatMul', (fallback) => (args) => {
    const { a, b } = args.inputs as unknown as { a: TensorInfo; b: TensorInfo };
    const { transposeA, transposeB } = args.attrs as unknown as { transposeA: boolean; transposeB: boolean };
    const product = { a, b, transposeA, transposeB };
    return isOurs(product) ? multiply(args.backend as WasmBackend, product) : fallback(args);
  });
  replaceKernel(tf, '_FusedMatMul', (fallback) => (args) => {
    const { a, b, bias } = args.inputs as unknown as { a: TensorInfo; b: TensorInfo; bias?: TensorInfo };
    const attrs = args.attrs as unknown as { transposeA: boolean; transposeB: boolean; activation: string };
    const product = { a, b, bias, transposeA: attrs.transposeA, transposeB: attrs.transposeB };
    const simple = attrs.activation === 'linear' && (!bias || bias.shape.length === 1) && isOurs(product);
    return simple ? multiply(args.backend as WasmBackend, product) : fallback(args);
  });

  const use: WasmMatmulSwitch = (next) => {
    routing = next;
  };
  installed.set(tf, use);
  return use;
}

/**
 * Whether the replacement computes this product: f32 matrices with at least one element.
 * @throws Error for batches that broadcast on both sides: the original kernel returns uninitialised memory for them
 */
function isOurs({ a, b }: Product): boolean {
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return false;
  if ([...a.shape, ...b.shape].includes(0)) return false;
  const batchA = a.shape.slice(0, -2);
  const batchB = b.shape.slice(0, -2);
  const equal = batchA.length === batchB.length && batchA.every((size, axis) => size === batchB[axis]);
  if (equal || count(batchA) === 1 || count(batchB) === 1) return true;
  throw new Error(`matMul of [${a.shape}] and [${b.shape}]: batches must be equal, or one of them a single matrix`);
}

interface Plan extends ProductShape {
  readonly outShape: readonly number[];
  readonly batch: number;
  readonly batchA: number;
  readonly batchB: number;
}

function planProduct({ a, b, transposeA, transposeB }: Product): Plan {
  const [rowsA, columnsA] = a.shape.slice(-2) as [number, number];
  const [rowsB, columnsB] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
  const [innerB, n] = transposeB ? [columnsB, rowsB] : [rowsB, columnsB];
  if (k !== innerB) throw new Error(`matMul of ${a.shape} and ${b.shape}: inner sizes ${k} and ${innerB} differ`);
  const outerA = a.shape.slice(0, -2);
  const outerB = b.shape.slice(0, -2);
  const batchA = count(outerA);
  const batchB = count(outerB);
  const outer = batchA > batchB || (batchA === batchB && outerA.length >= outerB.length) ? outerA : outerB;
  return { m, n, k, batchA, batchB, batch: Math.max(batchA, batchB), outShape: [...outer, m, n] };
}

function multiplyWithKernels(
  backend: WasmBackend,
  sync: NonNullable<Kernels['sync']>,
  { a, b, bias, transposeA, transposeB }: Product,
  plan: Plan,
  out: TensorInfo,
): void {
  const { m, n, k } = plan;
  // These views are taken after every allocation, because a heap that grows gets a new buffer.
  const aValues = backend.typedArrayFromHeap(a);
  const bValues = backend.typedArrayFromHeap(b);
  const outValues = backend.typedArrayFromHeap(out);
  if (bias) {
    const row = backend.typedArrayFromHeap(bias);
    for (let start = 0; start < outValues.length; start += n) outValues.set(row, start);
  }
  for (let index = 0; index < plan.batch; index++) {
    const aStart = plan.batchA === 1 ? 0 : index * m * k;
    const bStart = plan.batchB === 1 ? 0 : index * n * k;
    sync.matmul({
      a: aValues.subarray(aStart, aStart + m * k),
      b: bValues.subarray(bStart, bStart + n * k),
      out: outValues.subarray(index * m * n, (index + 1) * m * n),
      m,
      n,
      k,
      transposeA,
      transposeB,
      accumulate: bias !== undefined,
    });
  }
}

function multiplyWithXnnpack(
  backend: WasmBackend,
  wasmMatmul: WasmMatmul,
  { a, b, bias }: Product,
  plan: Plan,
  out: TensorInfo,
): void {
  const { dataIdMap } = backend;
  const [aData, bData, outData] = [dataIdMap.get(a.dataId), dataIdMap.get(b.dataId), dataIdMap.get(out.dataId)];
  const biasId = bias ? dataIdMap.get(bias.dataId).id : 0;
  let { m, batch } = plan;
  const { n, k } = plan;
  if (plan.batchB === 1) {
    // With one matrix on the right, the batch only adds rows.
    m *= batch;
    batch = 1;
  }
  if (batch === 1) {
    wasmMatmul(aData.id, bData.id, biasId, outData.id, { m, n, k });
    return;
  }
  for (let index = 0; index < batch; index++) {
    const aId = plan.batchA === 1 ? aData.id : view(backend, aData.memoryOffset, index, m * k);
    const bId = view(backend, bData.memoryOffset, index, n * k);
    const outId = view(backend, outData.memoryOffset, index, m * n);
    wasmMatmul(aId, bId, biasId, outId, { m, n, k });
    // This also frees the packed copy of b, which the backend keeps by the id of b.
    for (const id of [aId, bId, outId]) if (id !== aData.id) backend.wasm.tfjs.disposeData(id);
  }
}

/** Registers matrix `index` of a stack as a tensor of its own, without copying. */
function view(backend: WasmBackend, offset: number, index: number, size: number): number {
  const id = backend.dataIdNextNumber++;
  backend.wasm.tfjs.registerTensor(id, size, offset + index * size * Float32Array.BYTES_PER_ELEMENT);
  return id;
}

function transposed(backend: WasmBackend, transpose: KernelFunc, x: TensorInfo): TensorInfo {
  const rows = x.shape.at(-2)!;
  const columns = x.shape.at(-1)!;
  const flat = { dataId: x.dataId, dtype: x.dtype, shape: [count(x.shape.slice(0, -2)), rows, columns] };
  const result = transpose({ inputs: { x: flat }, backend, attrs: { perm: [0, 2, 1] } }) as TensorInfo;
  return { dataId: result.dataId, dtype: result.dtype, shape: [...x.shape.slice(0, -2), columns, rows] };
}

const fusedMatMulArguments = 'number array number number array number number number number number number number number';

function wrapFusedMatMul(backend: WasmBackend): WasmMatmul {
  const call = backend.wasm.cwrap('_FusedMatMul', null, fusedMatMulArguments.split(' '));
  const linear = 0;
  return (aId, bId, biasId, outId, { m, n, k }) =>
    call(aId, shapeBytes(1, m, k), 3, bId, shapeBytes(1, k, n), 3, 0, 0, linear, biasId, 0, 0, outId);
}

function shapeBytes(...shape: number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(shape).buffer);
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

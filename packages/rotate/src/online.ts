import type { ModelDescription, Ops, Random, RuntimeWrapper } from '@q/core';
import type { Factor } from './factors.js';
import type { Rotation } from './rotation.js';
import { innerRotations, keyRotation } from './rotations.js';

/** A wrapper that keeps the matrices of its rotations in the engine until it is disposed. */
export interface OnlineRotation<T> extends RuntimeWrapper<T> {
  dispose(): void;
}

/**
 * R3: rotates keys and queries after positions, each head by the same Q; their products do not change. For caches with
 * keys in few bits: wrap it around the wrapper that quantizes the keys, so that wrapper gets rotated keys.
 * @param random gives every block's Q; use the run's own
 */
export function rotateKeys<T>(model: ModelDescription, ops: Ops<T>, random: Random): OnlineRotation<T> {
  const matrices = new Matrices(ops);
  const rotations = model.blocks.map(({ index }) => keyRotation(model, index, random));
  const turn = (block: number, x: T): T => {
    const rotation = rotations[block];
    return rotation ? matrices.apply(rotation, x) : x;
  };
  return {
    query: (block, x, inner) => inner(block, turn(block, x)),
    cache: (site, x, inner) => inner(site, site.kind === 'key' && site.stage === 'afterRope' ? turn(site.block, x) : x),
    dispose: () => matrices.dispose(),
  };
}

/**
 * R4: rotates the inputs of the down projections, for a model whose weights were rewritten by
 * `rotate({ mlpInner: true })` with the same random generator. Wrap it around the wrapper that quantizes activations.
 */
export function rotateMlpInner<T>(model: ModelDescription, ops: Ops<T>, random: Random): OnlineRotation<T> {
  const matrices = new Matrices(ops);
  const rotations = innerRotations(model, random);
  return {
    linear(module, x, inner) {
      const rotation = rotations.get(module);
      return inner(module, rotation ? matrices.apply(rotation, x) : x);
    },
    dispose: () => matrices.dispose(),
  };
}

/** Walsh-Hadamard matrices of up to this order are multiplied in full; larger ones are products of smaller ones. */
const largestStep = 64;

/** Rotations inside a forward pass: uploaded once, applied factor by factor. */
class Matrices<T> {
  private readonly vectors = new Map<Rotation, T>();
  private readonly factors = new Map<Float32Array | number, T>();

  constructor(private readonly ops: Ops<T>) {}

  /** `[..., n * block]` -> each consecutive `size` of it times Q. */
  apply(rotation: Rotation, x: T): T {
    const { ops } = this;
    const { size, block, signs, factors, reflection } = rotation;
    if (reflection) throw new Error('a rotation that keeps the ones is folded into weights, never applied online');
    const shape = ops.shape(x);
    return ops.scope(() => {
      let y = ops.reshape(x, [-1, size]);
      y = ops.mul(
        y,
        this.upload(this.vectors, rotation, [size], () => signs),
      );
      let inner = block;
      for (const factor of factors.flatMap(steps)) {
        inner /= factor.size;
        const matrix = this.matrix(factor);
        if (inner === 1) {
          y = ops.linear(ops.reshape(y, [-1, factor.size]), matrix);
          continue;
        }
        const last = ops.transpose(ops.reshape(y, [-1, factor.size, inner]));
        y = ops.transpose(ops.linear(last, matrix));
      }
      return ops.reshape(y, shape);
    });
  }

  dispose(): void {
    for (const handle of [...this.vectors.values(), ...this.factors.values()]) this.ops.dispose(handle);
    this.vectors.clear();
    this.factors.clear();
  }

  /** `linear` multiplies by the transpose, so the transpose is uploaded. */
  private matrix({ size, matrix }: Factor): T {
    return this.upload(this.factors, matrix ?? size, [size, size], () =>
      matrix ? matrix.map((_, i) => matrix[(i % size) * size + Math.floor(i / size)]) : walshHadamard(size),
    );
  }

  private upload<K>(kept: Map<K, T>, key: K, shape: readonly number[], values: () => Float32Array): T {
    const present = kept.get(key);
    if (present !== undefined) return present;
    const handle = this.ops.keep(this.ops.fromF32(values(), shape));
    kept.set(key, handle);
    return handle;
  }
}

/** A large Walsh-Hadamard matrix as a Kronecker product of small ones. */
function steps(factor: Factor): Factor[] {
  if (factor.matrix || factor.size <= largestStep) return [factor];
  return [{ size: largestStep }, ...steps({ size: factor.size / largestStep })];
}

/** Orthonormal, row-major: `(-1)^(number of ones in i & j) / sqrt(size)`. */
function walshHadamard(size: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, at) => {
    let common = Math.floor(at / size) & (at % size);
    let sign = 1;
    for (; common > 0; common &= common - 1) sign = -sign;
    return sign / Math.sqrt(size);
  });
}

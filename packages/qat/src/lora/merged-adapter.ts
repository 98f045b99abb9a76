import { type LowRankAdapter, type LowRankPair, NumericError, type Rewrite, type Tensor, tensor } from '@q/core';
import { checkAdapter } from './low-rank-runtime.js';

/** `W + (alpha / rank) B A`, sums in f64. */
export function mergeLowRank(weight: Tensor<'f32'>, { a, b }: LowRankPair, scaling: number): Tensor<'f32'> {
  const [rows, columns] = weight.shape;
  const rank = a.shape[0];
  const out = new Float32Array(weight.data.length);
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = b.data[row * rank + k];
      if (factor === 0) continue;
      for (let j = 0; j < columns; j++) sums[j] += factor * a.data[k * columns + j];
    }
    for (let j = 0; j < columns; j++) out[row * columns + j] = weight.data[row * columns + j] + scaling * sums[j];
  }
  return tensor('f32', weight.shape, out);
}

/**
 * Adds an adapter to the weights before any other step. If every linear is kept, the result is a folder of the merged
 * model; with a method, the merged weights are quantized again. The same adapter with the opposite sign of `alpha`
 * reverses the merge.
 */
export function mergedAdapter(adapter: LowRankAdapter, name = 'the adapter'): Rewrite {
  const { rank, alpha, modules } = adapter;
  return {
    name: 'merge-adapter',
    options: { name, rank, alpha, modules: modules.size, sum: checksum(adapter) },
    apply(model, source) {
      const linears = new Map(model.blocks.flatMap((block) => block.linears).map((linear) => [linear.module, linear]));
      checkAdapter(adapter, linears, name);
      return {
        changed: new Map(
          [...modules].map(([module, { a, b }]) => [`${module}.weight`, [b.shape[0], a.shape[1]] as const]),
        ),
        config: {},
        async weight(tensorName) {
          const weight = await source.weight(tensorName);
          const pair = modules.get(tensorName.replace(/\.weight$/, ''));
          if (!pair || !tensorName.endsWith('.weight')) return weight;
          const merged = mergeLowRank(weight, pair, alpha / rank);
          const bad = merged.data.findIndex((value) => !Number.isFinite(value));
          if (bad >= 0)
            throw new NumericError(
              `${name}: ${tensorName} with its factors is ${merged.data[bad]} at element ${bad}: their product is beyond f32: ` +
                'use another state of the adapter',
            );
          return merged;
        },
      };
    },
  };
}

/** FNV-1a over the bytes. A recipe is identified by its options, so another adapter makes another recipe. */
function checksum({ modules }: LowRankAdapter): string {
  let hash = 0x811c9dc5;
  for (const { a, b } of modules.values())
    for (const { data } of [a, b])
      for (const byte of new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16);
}

import { finiteField } from './finite-field.js';

/**
 * Hadamard matrices by Paley (1933), row-major, entries +1 and -1. With a field of q elements `a_i`, its quadratic
 * character `chi`, and the Jacobsthal matrix `J_ij = chi(a_i - a_j)` bordered to `C = [[0, 1], [+-1, J]]` of order q +
 * 1:
 *
 * - first construction, `n = q + 1`, q = 3 mod 4: C is antisymmetric (minus sign) and `C C^T = q I`, so `I + C`;
 * - second construction, `n = 2 (q + 1)`, q = 1 mod 4: C is symmetric, so
 *   `C x [[1, 1], [1, -1]] + I x [[1, -1], [-1, -1]]`.
 *
 * Together they give 12, 20, 24, 28, 36, 44, 52, 60, ...; neither gives 40 (twice 20) nor 92.
 * @returns undefined when no construction has this order
 */
export function paleyMatrix(n: number): Int8Array | undefined {
  if (n % 4 !== 0) return undefined;
  return firstConstruction(n) ?? secondConstruction(n);
}

function firstConstruction(n: number): Int8Array | undefined {
  if ((n - 1) % 4 !== 3) return undefined;
  const matrix = conference(n - 1);
  if (!matrix) return undefined;
  for (let i = 0; i < n; i++) matrix[i * n + i] = 1;
  return matrix;
}

function secondConstruction(n: number): Int8Array | undefined {
  const half = n / 2;
  if ((half - 1) % 4 !== 1) return undefined;
  const matrix = conference(half - 1);
  if (!matrix) return undefined;
  const out = new Int8Array(n * n);
  for (let i = 0; i < half; i++) {
    for (let j = 0; j < half; j++) {
      const c = matrix[i * half + j];
      const [topLeft, topRight, bottomLeft, bottomRight] = i === j ? [1, -1, -1, -1] : [c, c, c, -c];
      const at = 2 * i * n + 2 * j;
      out[at] = topLeft;
      out[at + 1] = topRight;
      out[at + n] = bottomLeft;
      out[at + n + 1] = bottomRight;
    }
  }
  return out;
}

/** C of order q + 1: antisymmetric for q = 3 mod 4, symmetric for q = 1 mod 4. */
function conference(q: number): Int8Array | undefined {
  const field = finiteField(q);
  if (!field) return undefined;
  const n = q + 1;
  const out = new Int8Array(n * n);
  const left = q % 4 === 3 ? -1 : 1;
  for (let i = 0; i < q; i++) {
    out[i + 1] = 1;
    out[(i + 1) * n] = left;
    for (let j = 0; j < q; j++) out[(i + 1) * n + j + 1] = field.character(field.subtract(i, j));
  }
  return out;
}

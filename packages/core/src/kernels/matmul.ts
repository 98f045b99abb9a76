import type { GramArgs, MatmulArgs, MatmulInt8Args } from '../contracts/kernels.js';

function transpose(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = x[i * columns + j];
  return out;
}

/** Reference product: each element is one dot product over k in order, accumulated in f64, rounded once to f32. */
export function matmul({
  a,
  b,
  m,
  n,
  k,
  transposeA,
  transposeB,
  out = new Float32Array(m * n),
  accumulate,
}: MatmulArgs): Float32Array {
  const left = transposeA ? transpose(a, k, m) : a;
  const right = transposeB ? b : transpose(b, k, n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = accumulate ? out[i * n + j] : 0;
      for (let p = 0, x = i * k, y = j * k; p < k; p++, x++, y++) sum += left[x] * right[y];
      out[i * n + j] = sum;
    }
  }
  return out;
}

/** Reference Gram matrix: f64 accumulation over tokens in order, both triangles written from one sum. */
export function gram({ x, tokens, width, out }: GramArgs): void {
  const columns = transpose(x, tokens, width);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let t = 0, p = i * tokens, q = j * tokens; t < tokens; t++, p++, q++) sum += columns[p] * columns[q];
      out[i * width + j] += sum;
      if (i !== j) out[j * width + i] += sum;
    }
  }
}

/** Reference int8 product, exact. */
export function matmulInt8({ a, b, m, n, k, out = new Int32Array(m * n) }: MatmulInt8Args): Int32Array {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0, x = i * k, y = j * k; p < k; p++, x++, y++) sum += a[x] * b[y];
      out[i * n + j] = sum;
    }
  }
  return out;
}

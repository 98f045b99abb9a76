/**
 * llama.cpp's orders of rows for some matrices: the checkpoint's row of each row of the file. They move whole rows, so
 * quantized rows can be moved too.
 */

/**
 * The two values of each rotary pair of a head next to each other; the checkpoint has all first halves before all
 * second ones.
 */
export function interleaveHalves(rows: number, heads: number): Int32Array {
  const half = rows / heads / 2;
  return Int32Array.from({ length: rows }, (_, row) => {
    const [head, within] = [Math.floor(row / (2 * half)), row % (2 * half)];
    return head * 2 * half + (within % 2) * half + (within >> 1);
  });
}

/** Queries, keys and values one after the other; the checkpoint has the three of each head together. */
export function splitFusedHeads(rows: number, heads: number): Int32Array {
  const size = rows / heads / 3;
  return Int32Array.from({ length: rows }, (_, row) => {
    const part = Math.floor(row / (heads * size));
    const head = Math.floor((row % (heads * size)) / size);
    return (head * 3 + part) * size + (row % size);
  });
}

/** Rows `begin` to `end`. */
export const rowRange = (begin: number, end: number): Int32Array =>
  Int32Array.from({ length: end - begin }, (_, row) => begin + row);

/** The inverse of an order. */
export function inverseOrder(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  order.forEach((from, to) => {
    inverse[from] = to;
  });
  return inverse;
}

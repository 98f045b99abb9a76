/** Columns by falling Hessian diagonal (act-order); equal ones keep their order, so the result is deterministic. */
export function activationOrder(hessian: ArrayLike<number>, columns: number): Int32Array {
  const order = Int32Array.from({ length: columns }, (_, j) => j);
  return order.sort((a, b) => hessian[b * columns + b] - hessian[a * columns + a] || a - b);
}

export function naturalOrder(columns: number): Int32Array {
  return Int32Array.from({ length: columns }, (_, j) => j);
}

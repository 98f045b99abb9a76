/** Types of a tensor's elements, with our names. `id` is the number in ONNX, `bytes` the size of one element. */
export const elementTypes = {
  f32: { id: 1, bytes: 4 },
  u8: { id: 2, bytes: 1 },
  i8: { id: 3, bytes: 1 },
  i32: { id: 6, bytes: 4 },
  i64: { id: 7, bytes: 8 },
  bool: { id: 9, bytes: 1 },
  f16: { id: 10, bytes: 2 },
} as const;

export type ElementType = keyof typeof elementTypes;

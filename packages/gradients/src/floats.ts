/** An array of `value(i)`. `Float32Array.from` with a function took seven times as long. */
export function floats(length: number, value: (i: number) => number): Float32Array {
  const out = new Float32Array(length);
  for (let i = 0; i < length; i++) out[i] = value(i);
  return out;
}

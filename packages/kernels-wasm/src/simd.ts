import { relaxed, simd128 } from './generated/modules.js';

export type SimdLevel = 'relaxed' | 'simd128';

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * Compiles the module at the best SIMD level that the platform runs. Node 20 has relaxed SIMD behind a V8 flag; setting
 * the flag works before the first module that uses it is compiled, and workers inherit the flag.
 * @throws Error when the platform lacks the requested level, or has no SIMD128 with threads at all
 */
export async function compileModule(
  wanted: SimdLevel | 'auto',
): Promise<{ module: WebAssembly.Module; simd: SimdLevel }> {
  if (wanted !== 'simd128') {
    const bytes = bytesOf(relaxed);
    if (!WebAssembly.validate(bytes)) await allowRelaxed();
    if (WebAssembly.validate(bytes)) return { module: await WebAssembly.compile(bytes), simd: 'relaxed' };
    if (wanted === 'relaxed') throw new Error('this platform has no relaxed SIMD: use simd "auto" or "simd128"');
  }
  const bytes = bytesOf(simd128);
  if (!WebAssembly.validate(bytes))
    throw new Error('this platform has no WebAssembly SIMD or threads: use the reference kernels');
  return { module: await WebAssembly.compile(bytes), simd: 'simd128' };
}

async function allowRelaxed(): Promise<void> {
  if (typeof process === 'undefined' || !process.versions?.node) return;
  const v8 = await import('node:v8');
  v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
}

import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 collect garbage as it does for pages in the background. For commands whose memory is what their weights take: V8 does not free what
 * weights were read into until another 64 MB are there, and keeps up to 48 MB for new objects (`q generate` of SmolLM2-135M in Q4_0: 325
 * MB without it, 248 with it).
 */
export function preferMemory(): void {
  setFlagsFromString('--optimize-for-size');
  setFlagsFromString('--semi-space-growth-factor=1');
}

import type { LayoutRecord, QuantizedModule } from './layout.js';

/**
 * The output projection if it is not quantized: the config must name it, or readers would look for it in quantized
 * form.
 */
export function keptHead(modules: readonly QuantizedModule[], { head }: LayoutRecord): readonly string[] {
  return head === undefined || modules.some(({ linear }) => linear.module === head) ? [] : [head];
}

import type { LayoutRecord, QuantizedModule } from './layout.js';

/** The output projection, where it is not among the quantized modules: readers would look for it in quantized form. */
export function keptHead(modules: readonly QuantizedModule[], { head }: LayoutRecord): readonly string[] {
  return head === undefined || modules.some(({ linear }) => linear.module === head) ? [] : [head];
}

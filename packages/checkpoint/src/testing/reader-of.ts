import type { LayoutReader, QuantizedLayout } from '../layout.js';

/**
 * The layout's reader for a `quantization_config`.
 * @throws Error when the layout does not recognize the config
 */
export function readerOf(layout: QuantizedLayout, config: Readonly<Record<string, unknown>>): LayoutReader {
  const reader = layout.reader(config);
  if (!reader) throw new Error(`${layout.name}: not its own config`);
  return reader;
}

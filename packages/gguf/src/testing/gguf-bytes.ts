/**
 * Pieces of a file, written field by field from docs/reference/file-formats.md#container-of-gguf, independently of the
 * tested code.
 */
export const u8 = (x: number) => Uint8Array.of(x);
export const u32 = (x: number) => little(4, (view) => view.setUint32(0, x, true));
export const u64 = (x: number | bigint) => little(8, (view) => view.setBigUint64(0, BigInt(x), true));
export const f32 = (x: number) => little(4, (view) => view.setFloat32(0, x, true));
export const text = (x: string) => join(u64(new TextEncoder().encode(x).length), new TextEncoder().encode(x));

function little(bytes: number, fill: (view: DataView) => void): Uint8Array {
  const out = new Uint8Array(bytes);
  fill(new DataView(out.buffer));
  return out;
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export interface FileParts {
  readonly magic?: string;
  readonly version?: number;
  readonly tensorCount?: number | bigint;
  readonly entryCount?: number | bigint;
  readonly entries?: readonly Uint8Array[];
  readonly infos?: readonly Uint8Array[];
  readonly alignment?: number;
  readonly data?: Uint8Array;
}

/** A file of its pieces; counts are those of the pieces unless they are given. */
export function file({ entries = [], infos = [], alignment = 32, ...parts }: FileParts): Uint8Array {
  const head = join(
    new TextEncoder().encode(parts.magic ?? 'GGUF'),
    u32(parts.version ?? 3),
    u64(parts.tensorCount ?? infos.length),
    u64(parts.entryCount ?? entries.length),
    ...entries,
    ...infos,
  );
  const padding = new Uint8Array((alignment - (head.length % alignment)) % alignment);
  return join(head, padding, parts.data ?? new Uint8Array(0));
}

/** A metadata entry; `value` begins after the type. */
export const entry = (key: string, tag: number, value: Uint8Array) => join(text(key), u32(tag), value);

/** A tensor's description; sizes as in the file, the fastest first. */
export const info = (name: string, sizes: readonly (number | bigint)[], type: number, offset: number | bigint) =>
  join(text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset));

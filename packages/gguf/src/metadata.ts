import type { ByteSink } from './byte-sink.js';
import type { Cursor, GgufText } from './cursor.js';

/** A metadata value with the type it has in the file; 64-bit integers are bigints. */
export type GgufValue =
  | { readonly type: GgufNumberType; readonly value: number }
  | { readonly type: 'u64' | 'i64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: GgufText }
  | { readonly type: 'array'; readonly of: GgufScalarType; readonly value: readonly GgufScalar[] };

export type GgufNumberType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64';
export type GgufScalarType = GgufNumberType | 'u64' | 'i64' | 'bool' | 'string';
export type GgufScalar = number | bigint | boolean | GgufText;
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

interface ScalarCodec {
  /** The format's number for it. */
  readonly tag: number;
  /** Least bytes of one value: a false count is found before anything is allocated. */
  readonly least: number;
  read(from: Cursor): GgufScalar;
  write(to: ByteSink, value: GgufScalar): void;
}

type Getter =
  | 'Uint8'
  | 'Int8'
  | 'Uint16'
  | 'Int16'
  | 'Uint32'
  | 'Int32'
  | 'Float32'
  | 'Float64'
  | 'BigUint64'
  | 'BigInt64';

const plain = (tag: number, bytes: number, kind: Getter): ScalarCodec => ({
  tag,
  least: bytes,
  read: (from) => from.view(bytes)[`get${kind}`](0, true),
  write: (to, value) => to.view(bytes)[`set${kind}`](0, value as never, true),
});

const codecs: Readonly<Record<GgufScalarType, ScalarCodec>> = {
  u8: plain(0, 1, 'Uint8'),
  i8: plain(1, 1, 'Int8'),
  u16: plain(2, 2, 'Uint16'),
  i16: plain(3, 2, 'Int16'),
  u32: plain(4, 4, 'Uint32'),
  i32: plain(5, 4, 'Int32'),
  f32: plain(6, 4, 'Float32'),
  bool: {
    tag: 7,
    least: 1,
    read(from) {
      const byte = from.view(1).getUint8(0);
      return byte > 1 ? from.fail(`a bool is byte ${byte}: 0 or 1 was expected`) : byte === 1;
    },
    write: (to, value) => to.view(1).setUint8(0, value ? 1 : 0),
  },
  string: { tag: 8, least: 8, read: (from) => from.text(), write: (to, value) => to.string(value as GgufText) },
  u64: plain(10, 8, 'BigUint64'),
  i64: plain(11, 8, 'BigInt64'),
  f64: plain(12, 8, 'Float64'),
};

const arrayTag = 9;
const typeOf = new Map(Object.entries(codecs).map(([type, { tag }]) => [tag, type as GgufScalarType]));

export function readValue(from: Cursor): GgufValue {
  const tag = from.u32();
  if (tag !== arrayTag) {
    const type = scalarType(from, tag);
    return { type, value: codecs[type].read(from) } as GgufValue;
  }
  const inner = from.u32();
  if (inner === arrayTag) from.fail('it is an array of arrays, which the format does not have');
  const of = scalarType(from, inner);
  const count = from.count(codecs[of].least, 'elements of an array');
  const value: GgufScalar[] = [];
  for (let i = 0; i < count; i++) value.push(codecs[of].read(from));
  return { type: 'array', of, value };
}

function scalarType(from: Cursor, tag: number): GgufScalarType {
  return typeOf.get(tag) ?? from.fail(`it has type ${tag}, known are 0 to 12`);
}

export function writeValue(to: ByteSink, value: GgufValue): void {
  if (value.type !== 'array') {
    const codec = codecs[value.type];
    to.u32(codec.tag);
    codec.write(to, value.value);
    return;
  }
  const codec = codecs[value.of];
  to.u32(arrayTag).u32(codec.tag).u64(value.value.length);
  for (const item of value.value) codec.write(to, item);
}

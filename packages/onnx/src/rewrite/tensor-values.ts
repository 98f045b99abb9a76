import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { decodeF16, FormatError, viewBytes } from '@q/core';
import { elementTypes } from '../proto/element-type.js';
import type { TensorProto } from '../proto/schema.js';

/** Bytes of the tensors of one model file, inside it or in its data files. */
export interface TensorBytes {
  /** @throws FormatError when the values are missing */
  of(tensor: TensorProto): Promise<Uint8Array>;
}

/** @param path of the model; data files are next to it */
export function tensorBytes(path: string): TensorBytes {
  const files = new Map<string, Promise<Buffer>>();
  return {
    async of(tensor) {
      if (tensor.dataLocation !== 1) return inside(path, tensor);
      const place = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
      const location = place.get('location');
      if (location === undefined || isAbsolute(location) || normalize(location).startsWith('..'))
        throw new FormatError(`${path}: tensor ${tensor.name} has its values at ${location}, not in a file next to it`);
      const file = join(dirname(path), location);
      const reading = files.get(file) ?? readFile(file);
      files.set(file, reading);
      const bytes = await reading.catch((error) => {
        throw new FormatError(`${file}: cannot be read (${error.code}); ${path} keeps tensor ${tensor.name} there`);
      });
      const begin = Number(place.get('offset') ?? 0);
      const end = begin + Number(place.get('length') ?? bytes.length - begin);
      if (!(end <= bytes.length))
        throw new FormatError(`${file}: has ${bytes.length} bytes; tensor ${tensor.name} ends at ${end}`);
      return bytes.subarray(begin, end);
    },
  };
}

function inside(path: string, tensor: TensorProto): Uint8Array {
  if (tensor.rawData.length > 0) return tensor.rawData;
  if (tensor.dataType === elementTypes.f32.id) return new Uint8Array(Float32Array.from(tensor.floatData).buffer);
  if (tensor.dataType === elementTypes.f16.id) return new Uint8Array(Uint16Array.from(tensor.int32Data).buffer);
  throw new FormatError(`${path}: tensor ${tensor.name} of type ${tensor.dataType} has no raw values`);
}

/** f32 or f16 values as f32. */
export function floatsOf(stored: Uint8Array, dataType: number): Float32Array {
  // In protobuf, values may begin at any byte.
  const bytes = stored.byteOffset % 4 === 0 ? stored : Uint8Array.from(stored);
  if (dataType === elementTypes.f32.id) return viewBytes('f32', bytes) as Float32Array;
  return decodeF16(viewBytes('f16', bytes) as Uint16Array);
}

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { fullFiles, nodeFiles } from '@q/durable-files';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Graph } from '../graph/graph.js';
import { type ModelProto, schemas } from '../proto/schema.js';
import { writeModel } from './write-model.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-'));
});
afterEach(() => rm(folder, { recursive: true }));

const producer = { name: 'q', version: '1' };

/** `y = x w`, and a table that nothing reads. */
function product(rows: number): Graph {
  const graph = new Graph('product');
  const x = graph.input('x', 'f32', ['batch_size', 4]);
  const w = graph.storeFloats('w', 'f32', [4, rows], async () => new Float32Array(4 * rows).fill(0.5));
  graph.storeFloats('table', 'f32', [rows, 4], async () => new Float32Array(4 * rows).fill(2));
  graph.output(graph.node('MatMul', [x, w], { type: 'f32', sizes: ['batch_size', rows] }, { outputs: ['y'] }));
  return graph;
}

const floats = (bytes: Uint8Array) => new Float32Array(Uint8Array.from(bytes).buffer);
const read = async (path: string) => fromBinary(schemas.model, await readFile(path)) as ModelProto;

describe('a model file', () => {
  it('holds the graph and its tensors', async () => {
    const graph = product(3);
    const path = join(folder, 'model.onnx');
    const { files, bytes } = await writeModel(path, graph.model(producer, new Map()), graph.payloads);
    expect(files).toEqual([path]);
    expect((await readFile(path)).length).toBe(bytes);
    const { graph: found, opsetImport, irVersion } = await read(path);
    expect([irVersion, opsetImport[0]!.version]).toEqual([10n, 21n]);
    expect(found!.node.map(({ opType, input, output }) => [opType, input, output])).toEqual([
      ['MatMul', ['x', 'w'], ['y']],
    ]);
    const [w, table] = found!.initializer;
    expect([w!.name, w!.dims, w!.dataType]).toEqual(['w', [4n, 3n], 1]);
    expect(floats(w!.rawData)).toEqual(new Float32Array(12).fill(0.5));
    expect(floats(table!.rawData)).toEqual(new Float32Array(12).fill(2));
  });

  it('keeps large tensors beside it, each file within its limit', async () => {
    const graph = product(2000);
    const path = join(folder, 'model.onnx');
    const { files } = await writeModel(path, graph.model(producer, new Map()), graph.payloads, {
      externalBytes: 40000,
    });
    expect(files).toEqual([path, `${path}_data`, `${path}_data_1`]);
    const { graph: found } = await read(path);
    for (const [index, tensor] of found!.initializer.entries()) {
      const place = Object.fromEntries(tensor.externalData.map(({ key, value }) => [key, value]));
      expect(tensor.dataLocation).toBe(1);
      expect(Number(place.offset) % 4096).toBe(0);
      const data = await readFile(join(folder, place.location!));
      const own = data.subarray(Number(place.offset), Number(place.offset) + Number(place.length));
      expect(own.length).toBe(32000);
      expect(own.readFloatLE(0)).toBe(index === 0 ? 0.5 : 2);
    }
  });

  it('is not there when the disk is full, nor when its tensors are not as they were said to be', async () => {
    const graph = product(3000);
    const path = join(folder, 'model.onnx');
    for (const [count, externalBytes] of [0, 1, 3, 5].flatMap((operations) => [[operations], [operations, 40000]])) {
      const files = fullFiles(nodeFiles, count!);
      const writing = writeModel(path, graph.model(producer, new Map()), graph.payloads, { files, externalBytes });
      await expect(writing).rejects.toThrow(/no space left on the disk/);
    }
    const wrong = [
      { tensors: [{ name: 'w', type: 'f32' as const, dims: [2] }], make: async () => [new Uint8Array(4)] },
    ];
    await expect(writeModel(path, graph.model(producer, new Map()), wrong)).rejects.toThrow(
      'tensor w of type f32 [2] needs 8 bytes, got 4',
    );
    expect(await readdir(folder)).toEqual([]);
  });
});

import { elementCount, type Ops, type RotaryTable, ShapeError, toF32 } from '@q/core';
import { kvAttentionInPlace } from '../packed/kv-attention.js';
import type { Pool } from '../pool.js';
import { type Elementwise, rowsAtOnce, widthOf as width } from './elementwise.js';
import type { Heap } from './heap.js';
import { createLinear } from './linear.js';
import type { Value, Values } from './values.js';

/**
 * Operations of a forward pass on the pool's threads. Norms use 8 interleaved f32 sums that are joined in f64. Products
 * and attention sum in f32 in blocks of 256 (attention: over all keys). Exponentials are exact to 1e-7. Rows, and heads
 * of a sequence, are independent, so results do not depend on the number of threads.
 */
export function createForwardOps(pool: Pool, heap: Heap, values: Values, elementwise: Elementwise): Ops<Value> {
  const tables = new WeakMap<RotaryTable, { cosines: number; sines: number }>();
  const { address } = values;
  const rowsOf = (value: Value) => value.count / width(value);

  const upload = (data: Float32Array, shape: readonly number[]): Value => {
    if (data.length !== elementCount(shape)) throw new ShapeError(`${data.length} values are not [${shape}]`);
    const value = values.make(shape);
    values.read(value).set(data);
    return value;
  };

  const add = (a: Value, b: Value): Value => {
    if (!b.shape.every((n, i) => n === a.shape[a.shape.length - b.shape.length + i]))
      throw new ShapeError(`add of [${a.shape}] and [${b.shape}]: the second must end the first one's shape`);
    return elementwise.combine('add', a, b);
  };

  const norm = (x: Value, gain: Value, bias: Value | undefined, epsilon: number, centre: boolean): Value => {
    const columns = width(x);
    if (gain.count !== columns || (bias && bias.count !== columns))
      throw new ShapeError(`a norm of ${gain.count} features cannot take [${x.shape}]`);
    const out = values.make(x.shape);
    pool.run(
      'normRows',
      [address(x), address(gain), bias ? address(bias) : 0, epsilon, centre ? 1 : 0, address(out), columns],
      rowsOf(x),
      rowsAtOnce(columns),
    );
    return out;
  };

  /** Cosines and sines of a table. They are uploaded once and kept as long as the engine. */
  const tableOf = (table: RotaryTable) => {
    const present = tables.get(table);
    if (present) return present;
    const place = (data: Float32Array) => {
      const at = heap.allocate(4 * data.length, 'stays');
      new Float32Array(pool.memory.buffer, at, data.length).set(data);
      return at;
    };
    const made = { cosines: place(table.cos), sines: place(table.sin) };
    tables.set(table, made);
    return made;
  };

  return {
    fromTensor: (tensor) => upload(toF32(tensor), tensor.shape),
    fromF32: upload,
    shape: (x) => x.shape,
    async data(x, into = new Float32Array(x.count)) {
      into.set(values.read(x));
      return into;
    },
    dataSync: (x) => values.read(x).slice(),
    scope: (f) => values.scope(f),
    keep(x) {
      values.keep(x);
      return x;
    },
    dispose: (x) => values.dispose(x),

    embed(table, ids, batch, length) {
      const [rows, columns] = table.shape;
      const out = values.make([batch, length, columns]);
      const to = values.read(out);
      for (const [i, id] of ids.entries()) {
        if (!(id >= 0 && id < rows))
          throw new ShapeError(`embed: id ${id} at position ${i} is not in a table of ${rows} rows`);
        values.row(table, id, to.subarray(i * columns, (i + 1) * columns));
      }
      return out;
    },
    linear: createLinear(pool, heap, values),
    add,
    mul: (a, b) => elementwise.combine('mul', a, b),
    scale: (a, factor) => elementwise.map('scale', a, factor),
    rmsNorm: (x, gain, epsilon) => norm(x, gain, undefined, epsilon, false),
    layerNorm: (x, gain, bias, epsilon) => norm(x, gain, bias, epsilon, true),
    activation: (kind, x) => elementwise.map(kind, x),
    clip: (x, min, max) => elementwise.map('clip', x, min, max),
    softmax(x) {
      const out = values.make(x.shape);
      pool.run('softmaxRows', [address(x), address(out), width(x)], rowsOf(x), rowsAtOnce(width(x)));
      return out;
    },
    split(x, sizes) {
      const columns = width(x);
      if (sizes.reduce((sum, size) => sum + size, 0) !== columns)
        throw new ShapeError(`split: [${sizes}] are not the ${columns} features of [${x.shape}]`);
      let first = 0;
      return sizes.map((size) => {
        const out = values.make([...x.shape.slice(0, -1), size]);
        const [from, to] = [values.read(x), values.read(out)];
        for (let row = 0, at = first; row * size < to.length; row++, at += columns)
          to.set(from.subarray(at, at + size), row * size);
        first += size;
        return out;
      });
    },
    rotary(x, heads, table, start = 0) {
      const length = x.shape[1];
      if (start + length > table.positions) {
        throw new ShapeError(
          `a sequence of ${start + length} positions is longer than the rotary table of ${table.positions}`,
        );
      }
      const headDim = width(x) / heads;
      if (table.headDim > headDim)
        throw new ShapeError(
          `heads of ${headDim} features do not have the ${table.headDim} that the rotary table rotates`,
        );
      const out = values.make(x.shape);
      const { cosines, sines } = tableOf(table);
      const skipped = 2 * start * table.headDim;
      pool.run(
        'rotaryRows',
        [address(x), cosines + skipped, sines + skipped, address(out), heads, headDim, table.headDim, length],
        rowsOf(x),
        rowsAtOnce(width(x)),
      );
      return out;
    },
    attention({ q, k, v, heads, kvHeads, headDim, scale, window, causal = true, bias, softCap = 0, sinks }) {
      const [batch, asked] = q.shape;
      const length = k.shape[1];
      if (heads % kvHeads !== 0) throw new ShapeError(`attention of ${heads} heads cannot share ${kvHeads} key heads`);
      const out = values.make([batch, asked, heads * headDim]);
      const keys = 8 * Math.ceil(length / 8);
      const scratchBytes = 4 * (keys * headDim + 4 * Math.ceil(headDim / 4) * length + 8 * headDim + 8 * keys + 64);
      const scratch = heap.allocate(pool.threads * scratchBytes);
      const { limit, ahead } = attentionReach(length, window, causal);
      pool.run(
        'attentionHeads',
        [
          ...[q, k, v, out].map(address),
          ...[
            asked,
            length,
            heads,
            kvHeads,
            headDim,
            scale,
            limit,
            ahead,
            bias ? address(bias) : 0,
            softCap,
            sinks ? address(sinks) : 0,
            scratch,
            scratchBytes,
          ],
        ],
        batch * heads,
        1,
      );
      heap.free(scratch);
      return out;
    },
    attentionOnCodes(q, cache, { heads, scale, window }) {
      const [batch, tokens] = q.shape;
      if (batch !== 1) throw new ShapeError(`a cache of packed codes is of one sequence, not of ${batch}`);
      const out = values.make(q.shape);
      const queries = { length: q.count, address: address(q) };
      const reach = window === undefined ? {} : { reach: window };
      try {
        kvAttentionInPlace(pool, heap, { ...cache, queries, tokens, heads, scale, ...reach }, address(out));
      } catch (error) {
        values.dispose(out);
        throw error;
      }
      return out;
    },
    append(a, b) {
      const [[batch, before, columns], [, added]] = [a.shape, b.shape];
      const shape = [batch, before + added, columns];
      if (batch === 1) {
        const grown = values.grown(a, shape);
        values.read(grown).set(values.read(b), a.count);
        return grown;
      }
      const out = values.make(shape);
      const [first, second, to] = [values.read(a), values.read(b), values.read(out)];
      for (let row = 0, at = 0; row < batch; row++) {
        to.set(first.subarray(row * before * columns, (row + 1) * before * columns), at);
        at += before * columns;
        to.set(second.subarray(row * added * columns, (row + 1) * added * columns), at);
        at += added * columns;
      }
      return out;
    },
    rows(x, start, count) {
      const columns = x.count / x.shape[0];
      return upload(values.read(x).slice(start * columns, (start + count) * columns), [count, ...x.shape.slice(1)]);
    },
    scatterRows(x, ids, count) {
      const [rows, columns] = x.shape;
      if (ids.length !== rows) throw new ShapeError(`scatterRows: ${ids.length} ids for ${rows} rows`);
      const out = values.make([count, columns]);
      const [from, to] = [values.read(x), values.read(out).fill(0)];
      for (const [i, id] of ids.entries()) {
        if (!(id >= 0 && id < count))
          throw new ShapeError(`scatterRows: id ${id} at position ${i} is not among ${count} rows`);
        for (let j = 0; j < columns; j++) to[id * columns + j] += from[i * columns + j];
      }
      return out;
    },
    reshape(x, wanted) {
      const known = wanted.reduce((product, size) => (size === -1 ? product : product * size), 1);
      const shape = wanted.map((size) => (size === -1 ? x.count / known : size));
      if (elementCount(shape) !== x.count) throw new ShapeError(`[${x.shape}] cannot be seen as [${wanted}]`);
      return values.alias(x, shape);
    },
    transpose(x) {
      const [rows, columns] = x.shape.slice(-2);
      const out = values.make([...x.shape.slice(0, -2), columns, rows]);
      const [from, to] = [values.read(x), values.read(out)];
      for (let base = 0; base < x.count; base += rows * columns)
        for (let i = 0; i < rows; i++)
          for (let j = 0; j < columns; j++) to[base + j * rows + i] = from[base + i * columns + j];
      return out;
    },
  };
}

/**
 * The range of keys that a query sees. `limit` keys up to and with its own position, or all of them (0); and `ahead`
 * keys after its position.
 */
export function attentionReach(length: number, window: number | undefined, causal: boolean) {
  const limit = window === undefined || window >= length ? 0 : window;
  return { limit, ahead: causal ? 0 : limit === 0 ? length : limit - 1 };
}

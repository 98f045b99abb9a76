import { type DifferentiableOps, type Ops, type RotaryTable, ShapeError } from '@q/core';
import { reduceTo } from '../forward/broadcast.js';
import { type Elementwise, rowsAtOnce, widthOf } from '../forward/elementwise.js';
import type { Heap } from '../forward/heap.js';
import type { Value, Values } from '../forward/values.js';
import type { Pool } from '../pool.js';
import { createAttentionGradient } from './attention-gradient.js';
import { createLosses } from './losses.js';
import { createProduct, rowMajor, transposed } from './product.js';
import { createTape } from './tape.js';

/** The operations of a forward pass with their gradients. Gradients by norms and biases are summed over rows in f64. */
export function createTrainingOps(
  pool: Pool,
  heap: Heap,
  values: Values,
  elementwise: Elementwise,
  forward: Ops<Value>,
): DifferentiableOps<Value> {
  const tape = createTape(values, elementwise);
  const product = createProduct(pool, heap);
  const attentionGradient = createAttentionGradient(pool, heap, values);
  const losses = createLosses(pool, heap, values);
  const { address, alias } = values;
  const { map, mapGradient, combine } = elementwise;
  const mirrored = new WeakMap<RotaryTable, RotaryTable>();

  /** Records how `output` was computed, and returns it. */
  const from = (
    inputs: readonly Value[],
    output: Value,
    saved: readonly Value[],
    backward: (dy: Value, saved: readonly Value[]) => readonly (() => Value)[],
  ): Value => {
    tape.record(inputs, [output], saved, ([dy], kept) => backward(dy, kept));
    return output;
  };

  const sumColumns = (x: Value, width: number, shape: readonly number[]): Value => {
    const out = values.make(shape);
    pool.run('sumColumns', [address(x), x.count / width, width, address(out)], Math.ceil(width / 4), 4);
    return out;
  };
  /** Reverses broadcasting. The result may be a second owner of the memory of `x`. */
  const reduced = (x: Value, shape: readonly number[]): Value => {
    if (`${x.shape}` === `${shape}`) return alias(x, shape);
    const lead = x.shape.length - shape.length;
    const trailing = lead > 0 && shape.length > 0 && shape.every((n, i) => n === x.shape[lead + i]);
    if (!trailing) return reduceTo(values, x, shape);
    return sumColumns(
      x,
      shape.reduce((count, n) => count * n, 1),
      shape,
    );
  };
  /** A derivative with the shape of `x`. */
  const like = (x: readonly number[], run: (out: number) => void): Value => {
    const out = values.make(x);
    run(address(out));
    return out;
  };

  const normGradients = (x: Value, gain: Value, dy: Value, epsilon: number, centre: boolean) => {
    const width = widthOf(x);
    const run = (dx: number, scaled: number) =>
      pool.run(
        'normGradientRows',
        [address(x), address(gain), address(dy), epsilon, centre ? 1 : 0, dx, scaled, width],
        x.count / width,
        rowsAtOnce(width),
      );
    return {
      byX: () => like(x.shape, (out) => run(out, 0)),
      byGain: () =>
        values.scope(() => {
          const [unused, scaled] = [values.make(x.shape), values.make(x.shape)];
          run(address(unused), address(scaled));
          return sumColumns(scaled, width, gain.shape);
        }),
      byBias: () => sumColumns(dy, width, gain.shape),
    };
  };

  return {
    ...forward,
    embed: (table, ids, batch, length) =>
      from([table], forward.embed(table, ids, batch, length), [], (dy) => [
        () => forward.scatterRows(alias(dy, [ids.length, table.shape[1]]), ids, table.shape[0]),
      ]),
    linear(x, weight, bias) {
      // A trained weight changes at every step, so it is packed for this product only.
      if (!tape.tracks(x, weight, bias)) return forward.linear(x, weight, bias);
      const [n, k] = weight.shape;
      if (widthOf(x) !== k)
        throw new ShapeError(`linear: input [${x.shape}] does not fit the weight [${weight.shape}] ([out, in])`);
      const m = x.count / k;
      const frozen = !tape.tracks(weight);
      const y = frozen ? forward.linear(x, weight, bias) : values.make([...x.shape.slice(0, -1), n]);
      if (!frozen) {
        const columns = transposed(rowMajor(address(weight), k));
        product(rowMajor(address(x), k), columns, address(y), { m, n, k }, bias ? address(bias) : 0);
      }
      // Values that only the gradient of a frozen operand needs are not kept.
      const saved = [...(tape.tracks(x) ? [weight] : []), ...(frozen ? [] : [x])];
      return from([x, weight, ...(bias ? [bias] : [])], y, saved, (dy, kept) => [
        () =>
          like(x.shape, (out) =>
            product(rowMajor(address(dy), n), rowMajor(address(kept[0]), k), out, { m, n: k, k: n }),
          ),
        () =>
          like(weight.shape, (out) => {
            const input = rowMajor(address(kept[kept.length - 1]), k);
            product(transposed(rowMajor(address(dy), n)), input, out, { m: n, n: k, k: m });
          }),
        () => sumColumns(dy, n, [n]),
      ]);
    },
    add: (a, b) => from([a, b], forward.add(a, b), [], (dy) => [() => alias(dy, a.shape), () => reduced(dy, b.shape)]),
    sub: (a, b) =>
      from([a, b], combine('sub', a, b), [], (dy) => [
        () => reduced(dy, a.shape),
        () => reduced(map('scale', dy, -1), b.shape),
      ]),
    mul: (a, b) =>
      from([a, b], forward.mul(a, b), [a, b], (dy, [a, b]) => [
        () => reduced(combine('mul', dy, b), a.shape),
        () => reduced(combine('mul', dy, a), b.shape),
      ]),
    div(a, b) {
      const y = combine('div', a, b);
      return from([a, b], y, [b, y], (dy, [b, y]) => [
        () => reduced(combine('div', dy, b), a.shape),
        () => reduced(map('scale', combine('div', combine('mul', dy, y), b), -1), b.shape),
      ]);
    },
    scale: (x, factor) => from([x], forward.scale(x, factor), [], (dy) => [() => map('scale', dy, factor)]),
    rmsNorm: (x, gain, epsilon) =>
      from([x, gain], forward.rmsNorm(x, gain, epsilon), [x, gain], (dy, [x, gain]) => {
        const { byX, byGain } = normGradients(x, gain, dy, epsilon, false);
        return [byX, byGain];
      }),
    layerNorm: (x, gain, bias, epsilon) =>
      from(
        [x, gain, ...(bias ? [bias] : [])],
        forward.layerNorm(x, gain, bias, epsilon),
        [x, gain],
        (dy, [x, gain]) => {
          const { byX, byGain, byBias } = normGradients(x, gain, dy, epsilon, true);
          return [byX, byGain, byBias];
        },
      ),
    activation: (kind, x) => from([x], forward.activation(kind, x), [x], (dy, [x]) => [() => mapGradient(kind, x, dy)]),
    softmax(x) {
      const y = forward.softmax(x);
      const width = widthOf(x);
      return from([x], y, [y], (dy, [y]) => [
        () =>
          like(y.shape, (out) =>
            pool.run('softmaxGradientRows', [address(y), address(dy), out, width], y.count / width, rowsAtOnce(width)),
          ),
      ]);
    },
    split(x, sizes) {
      const parts = forward.split(x, sizes);
      const width = widthOf(x);
      tape.record([x], parts, [], (arriving) => [
        () => {
          const out = values.make(x.shape);
          const to = values.read(out);
          let first = 0;
          arriving.forEach((dy, i) => {
            const rows = values.read(dy);
            const size = sizes[i];
            for (let row = 0, at = first; row * size < rows.length; row++, at += width)
              to.set(rows.subarray(row * size, (row + 1) * size), at);
            first += size;
          });
          return out;
        },
      ]);
      return parts;
    },
    rotary: (x, heads, table, start) =>
      from([x], forward.rotary(x, heads, table, start), [], (dy) => {
        // The transpose of a rotation is the rotation in the other direction.
        const back = mirrored.get(table) ?? { ...table, sin: table.sin.map((sine) => -sine) };
        mirrored.set(table, back);
        return [() => forward.rotary(dy, heads, back, start)];
      }),
    attention(args) {
      const { sinks, bias } = args;
      if (sinks && tape.tracks(sinks)) throw new ShapeError('attention: sinks have no gradient here, keep them frozen');
      const constants = [bias, sinks].filter((each) => each !== undefined);
      const inputs = [args.q, args.k, args.v];
      return from(inputs, forward.attention(args), [...inputs, ...constants], (dy, [q, k, v, ...rest]) => {
        const kept = { ...(bias ? { bias: rest[0] } : {}), ...(sinks ? { sinks: rest[rest.length - 1] } : {}) };
        let all: readonly Value[] | undefined;
        return [0, 1, 2].map((i) => () => {
          all ??= attentionGradient({ ...args, q, k, v, ...kept }, dy);
          return all[i];
        });
      });
    },
    append(a, b) {
      const [before, added] = [a.shape[1] * a.shape[2], b.shape[1] * b.shape[2]];
      const part = (dy: Value, shape: readonly number[], first: number, size: number) => {
        const out = values.make(shape);
        const [rows, to] = [values.read(dy), values.read(out)];
        for (let row = 0; row < shape[0]; row++) {
          const at = row * (before + added) + first;
          to.set(rows.subarray(at, at + size), row * size);
        }
        return out;
      };
      return from([a, b], forward.append(a, b), [], (dy) => [
        () => part(dy, a.shape, 0, before),
        () => part(dy, b.shape, before, added),
      ]);
    },
    rows: (x, start, count) =>
      from([x], forward.rows(x, start, count), [], (dy) => [
        () => {
          const out = values.make(x.shape);
          values
            .read(out)
            .fill(0)
            .set(values.read(dy), (start * x.count) / x.shape[0]);
          return out;
        },
      ]),
    scatterRows: (x, ids, count) =>
      from([x], forward.scatterRows(x, ids, count), [], (dy) => [
        () => alias(forward.embed(dy, ids, 1, ids.length), x.shape),
      ]),
    reshape: (x, shape) => from([x], forward.reshape(x, shape), [], (dy) => [() => alias(dy, x.shape)]),
    transpose: (x) => from([x], forward.transpose(x), [], (dy) => [() => forward.transpose(dy)]),

    valueAndGradients: tape.valueAndGradients,
    crossEntropy(logits, targets) {
      const { value, gradient } = losses.crossEntropy(logits, targets);
      from([logits], value, [gradient], (dy, [gradient]) => [() => map('scale', gradient, values.read(dy)[0])]);
      values.dispose(gradient);
      return value;
    },
    klDivergence(student, teacher) {
      const { value, gradient } = losses.klDivergence(student, teacher);
      from([student], value, [gradient], (dy, [gradient]) => [() => map('scale', gradient, values.read(dy)[0])]);
      values.dispose(gradient);
      return value;
    },
    abs: (x) => from([x], map('abs', x), [x], (dy, [x]) => [() => mapGradient('abs', x, dy)]),
    sum(x) {
      const out = values.make([]);
      const all = values.read(x);
      let total = 0;
      for (let i = 0; i < all.length; i++) total += all[i];
      values.read(out)[0] = total;
      return from([x], out, [], (dy) => [
        () => {
          const all = values.make(x.shape);
          values.read(all).fill(values.read(dy)[0]);
          return all;
        },
      ]);
    },
    round: (x) => from([x], map('round', x), [], (dy) => [() => alias(dy, x.shape)]),
    clip: (x, min, max) =>
      from([x], map('clip', x, min, max), [x], (dy, [x]) => [() => mapGradient('clip', x, dy, min, max)]),
    rowMax(x) {
      const width = widthOf(x);
      const out = values.make([...x.shape.slice(0, -1), 1]);
      const [rows, to] = [values.read(x), values.read(out)];
      for (let row = 0; row < to.length; row++) {
        let largest = Number.NEGATIVE_INFINITY;
        for (let i = row * width; i < (row + 1) * width; i++) largest = Math.max(largest, rows[i]);
        to[row] = largest;
      }
      return out;
    },
  };
}

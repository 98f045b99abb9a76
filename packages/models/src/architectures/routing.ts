import type { Ops } from '@q/core';

/** Tokens for one expert, and the weights of its outputs. */
interface Assignment {
  /** Indices of tokens in the batch. */
  readonly tokens: Int32Array;
  /** Indices of their weights in the flat list of chosen ones. */
  readonly places: Int32Array;
}

/**
 * Sends each token to the experts with the `count` largest router logits (of equal ones the lower index). Adds three
 * parts to a stage's state for each expert with tokens: `expert.E` `[rows, hidden]`, `expert.E.tokens` and
 * `expert.E.weights` `[rows, 1]`. Weights are differentiable; the choice itself is not.
 * @param x `[tokens, hidden]`
 * @param logits `[tokens, experts]`
 * @param normalize whether the weights of a token add up to 1: softmax over the chosen logits; otherwise they are taken
 *   from the softmax over all experts
 */
export function routeTokens<T>(ops: Ops<T>, x: T, logits: T, count: number, normalize: boolean): Record<string, T> {
  if (ops.routing) return ops.routing.route(x, logits, count, normalize);
  const [tokens, experts] = ops.shape(logits) as [number, number];
  const chosen = largestColumns(ops.dataSync(logits), tokens, experts, count);
  const flat = (values: T) => ops.reshape(values, [tokens * experts, 1]);
  const at = Int32Array.from(chosen, (expert, place) => Math.floor(place / count) * experts + expert);
  const weights = normalize
    ? ops.reshape(ops.softmax(ops.reshape(gatherRows(ops, flat(logits), at), [tokens, count])), [tokens * count, 1])
    : gatherRows(ops, flat(ops.softmax(logits)), at);
  const parts: Record<string, T> = {};
  for (const [expert, assigned] of assignments(chosen, experts, count).entries()) {
    if (assigned.tokens.length === 0) continue;
    const part = `expert.${expert}`;
    parts[part] = gatherRows(ops, x, assigned.tokens);
    parts[`${part}.tokens`] = ops.fromF32(Float32Array.from(assigned.tokens), [assigned.tokens.length, 1]);
    parts[`${part}.weights`] = gatherRows(ops, weights, assigned.places);
  }
  return parts;
}

/**
 * Adds `rows` `[rows, hidden]` to the `tokens` `[rows, 1]` of `sum` `[batch, length, hidden]`, as {@link routeTokens}
 * gives them.
 */
export function addRows<T>(ops: Ops<T>, sum: T, rows: T, tokens: T): T {
  if (ops.routing) return ops.routing.addRows(sum, rows, tokens);
  const shape = ops.shape(sum);
  const ids = Int32Array.from(ops.dataSync(tokens));
  return ops.add(sum, ops.reshape(ops.scatterRows(rows, ids, shape[0]! * shape[1]!), shape));
}

/** Rows `ids` of `x` `[rows, width]` -> `[ids.length, width]`. */
function gatherRows<T>(ops: Ops<T>, x: T, ids: Int32Array): T {
  return ops.reshape(ops.embed(x, ids, 1, ids.length), [ids.length, ops.shape(x)[1]!]);
}

/** For each row the columns of its `count` largest values, largest first: `[rows * count]`. */
export function largestColumns(values: Float32Array, rows: number, columns: number, count: number): Int32Array {
  const out = new Int32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const own = values.subarray(row * columns, (row + 1) * columns);
    const order = Array.from(own.keys()).sort((a, b) => own[b]! - own[a]! || a - b);
    out.set(order.slice(0, count), row * count);
  }
  return out;
}

function assignments(chosen: Int32Array, experts: number, count: number): Assignment[] {
  const places: number[][] = Array.from({ length: experts }, () => []);
  for (const [place, expert] of chosen.entries()) places[expert]!.push(place);
  return places.map((own) => ({
    tokens: Int32Array.from(own, (place) => Math.floor(place / count)),
    places: Int32Array.from(own),
  }));
}

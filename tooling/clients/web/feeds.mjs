/** The inputs of a decoder for a text and an empty cache, for Node and browsers. */
export function feedsOf({ Tensor }, session, ids) {
  const integers = (values) => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const past = session.inputMetadata
    .filter(({ name }) => name.startsWith('past_key_values.'))
    .map(({ name, type, shape }) => {
      const dims = [1, Number(shape[1]), 0, Number(shape[3])];
      return [name, new Tensor(type, type === 'float16' ? new Uint16Array(0) : new Float32Array(0), dims)];
    });
  return { input_ids: integers(ids), attention_mask: integers(ids.map(() => 1)), ...Object.fromEntries(past) };
}

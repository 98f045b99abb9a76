import { ShapeError } from '../contracts/errors.js';
import type { KvAttention, KvAttentionArgs, PackedKv } from '../contracts/kv-attention.js';

/** @throws ShapeError when the numbers do not fit together or an array has another length */
export function checkKvAttention(
  args: Omit<KvAttentionArgs, 'queries'> & { readonly queries: { readonly length: number } },
): void {
  const {
    queries,
    tokens,
    heads,
    kvHeads,
    headDim,
    capacity,
    packed,
    keys,
    values,
    unpacked,
    leading = 0,
    window = 0,
  } = args;
  const others = leading + window;
  if (headDim % 16 !== 0 || heads % kvHeads !== 0 || packed > capacity || tokens > packed + others) {
    throw new ShapeError(
      `attention: ${heads} heads of ${headDim} channels over ${kvHeads} (channels in multiples of 16), ${packed} of ${capacity} positions and ${others} more for ${tokens} queries do not fit together`,
    );
  }
  if (args.reach !== undefined && !(Number.isInteger(args.reach) && args.reach > 0))
    throw new ShapeError(`attention: a reach of ${args.reach} positions, a whole number above 0 was expected`);
  const need = (what: string, found: number, needed: number) => {
    if (found !== needed) throw new ShapeError(`attention: ${what} has ${found} values, ${needed} are needed`);
  };
  need('queries', queries.length, tokens * heads * headDim);
  need('the unpacked tokens', unpacked?.length ?? 0, 2 * kvHeads * others * headDim);
  for (const [name, kv] of [
    ['keys', keys],
    ['values', values],
  ] as const) {
    const { bits, along, size } = kv;
    if (along === 'channels' && headDim % size !== 0)
      throw new ShapeError(`attention: ${headDim} channels of ${name} are not groups of ${size}`);
    need(`codes of ${name}`, kv.codes.length, (kvHeads * capacity * headDim * bits) / 8);
    const groups = along === 'channels' ? (capacity * headDim) / size : Math.ceil(capacity / size) * headDim;
    need(`scales of ${name}`, kv.scales.length, 2 * kvHeads * groups);
  }
}

/** `(code - zero) * scale` of one channel. */
function dequantized(kv: PackedKv, args: KvAttentionArgs, head: number, position: number, channel: number): number {
  const { bits, along, size, codes, scales } = kv;
  const { capacity, headDim } = args;
  const at = (head * capacity + position) * headDim + channel;
  const byte = Math.floor((at * bits) / 8);
  const code = ((codes[byte] | ((codes[byte + 1] ?? 0) << 8)) >> ((at * bits) % 8)) & (2 ** bits - 1);
  const group =
    along === 'channels'
      ? (head * capacity + position) * (headDim / size) + Math.floor(channel / size)
      : (head * Math.ceil(capacity / size) + Math.floor(position / size)) * headDim + channel;
  return (code - scales[2 * group + 1]) * scales[2 * group];
}

/** Reference: dequantizes every key and value when it is needed; all sums are f64 in order, rounded once to f32. */
export const referenceKvAttention: KvAttention = async (args) => {
  checkKvAttention(args);
  const { queries, tokens, heads, kvHeads, headDim, packed, keys, values, unpacked, leading = 0, window = 0 } = args;
  const others = leading + window;
  const scale = args.scale ?? 1 / Math.sqrt(headDim);
  const valueAt = (part: 0 | 1, head: number, position: number, channel: number) =>
    position >= leading && position < leading + packed
      ? dequantized(part === 0 ? keys : values, args, head, position - leading, channel)
      : unpacked![
          ((part * kvHeads + head) * others + position - (position < leading ? 0 : packed)) * headDim + channel
        ];
  const out = new Float32Array(queries.length);
  for (let token = 0; token < tokens; token++) {
    const visible = packed + others - tokens + token + 1;
    const from = Math.max(0, visible - (args.reach ?? visible));
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const start = (token * heads + head) * headDim;
      const scores = Float64Array.from({ length: visible - from }, (_, i) => {
        let sum = 0;
        for (let c = 0; c < headDim; c++) sum += queries[start + c] * valueAt(0, kvHead, from + i, c);
        return sum * scale;
      });
      const top = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b);
      for (let c = 0; c < headDim; c++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * valueAt(1, kvHead, from + i, c);
        out[start + c] = sum / total;
      }
    }
  }
  return out;
};

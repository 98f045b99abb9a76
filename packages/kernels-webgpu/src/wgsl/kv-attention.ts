/**
 * Attention of queries over a quantized cache of keys and values, softmax in one pass (running maximum and sum, f32). A
 * workgroup has one query of one head: its invocations score 64 positions, then each sums its channels. The first
 * and the last positions may be f32 (sinks, and KIVI's residual window).
 */
import type { KvLayout } from '@q/core';
import { each, type KernelSource, wgslModule } from './module.js';

export interface KvAttentionOptions {
  readonly headDim: number;
  readonly keys: KvLayout;
  readonly values: KvLayout;
}

const attentionInvocations = 64;

/** `word` with four codes of 3 bits from `at` on. The codes may cross from one word to the next. */
const crossing = (name: string) => `  let bit = 3u * at;
  let shift = bit % 32u;
  var word = ${name}s[bit / 32u] >> shift;
  if (shift > 20u) {
    word |= ${name}s[bit / 32u + 1u] << (32u - shift);
  }`;

/** `fn NAME_at(head, position, channel) -> vec4f`: four channels from a cache, or from the f32 tokens around it. */
function load(name: 'key' | 'value', { bits, along, size }: KvLayout, headDim: number): string {
  const perWord = 32 / bits;
  const pair = (c: string) =>
    along === 'channels'
      ? `${name}_scales[(head * p.capacity + position) * ${headDim / size}u + (${c}) / ${size}u]`
      : `${name}_scales[(head * ((p.capacity + ${size - 1}u) / ${size}u) + position / ${size}u) * ${headDim}u + ${c}]`;
  const offset = name === 'key' ? '' : 'p.kv_heads + ';
  return `fn ${name}_at(head: u32, place: u32, channel: u32) -> vec4f {
  if (place < p.leading || place >= p.leading + p.packed) {
    let row = place - select(p.packed, 0u, place < p.leading);
    return unpacked[((${offset}head) * (p.leading + p.window) + row) * ${headDim / 4}u + channel / 4u];
  }
  let position = place - p.leading;
  let at = (head * p.capacity + position) * ${headDim}u + channel;
${bits === 3 ? crossing(name) : `  let word = ${name}s[at / ${perWord}u] >> (${bits}u * (at % ${perWord}u));`}
  let codes = vec4f(vec4u(word, word >> ${bits}u, word >> ${2 * bits}u, word >> ${3 * bits}u) & vec4u(${2 ** bits - 1}u));
${
  along === 'channels' && size % 4 === 0
    ? `  let pair = ${pair('channel')};
  return (codes - pair.y) * pair.x;`
    : `${each(4, (i) => `  let pair${i} = ${pair(`channel + ${i}u`)};`)}
  return (codes - vec4f(pair0.y, pair1.y, pair2.y, pair3.y)) * vec4f(pair0.x, pair1.x, pair2.x, pair3.x);`
}
}`;
}

export function kvAttention({ headDim, keys, values }: KvAttentionOptions): KernelSource {
  return wgslModule({
    label: 'attention over a quantized cache',
    parameters: {
      tokens: 'u32',
      heads: 'u32',
      kv_heads: 'u32',
      capacity: 'u32',
      packed: 'u32',
      leading: 'u32',
      window: 'u32',
      length: 'u32',
      scale: 'f32',
      reach: 'u32',
    },
    bindings: [
      { name: 'queries', access: 'read', type: 'array<vec4f>' },
      { name: 'keys', access: 'read', type: 'array<u32>' },
      { name: 'key_scales', access: 'read', type: 'array<vec2f>' },
      { name: 'values', access: 'read', type: 'array<u32>' },
      { name: 'value_scales', access: 'read', type: 'array<vec2f>' },
      { name: 'unpacked', access: 'read', type: 'array<vec4f>' },
      { name: 'outputs', access: 'read_write', type: 'array<vec4f>' },
    ],
    body: `
${load('key', keys, headDim)}

${load('value', values, headDim)}

var<workgroup> query: array<vec4f, ${headDim / 4}>;
var<workgroup> sums: array<vec4f, ${headDim / 4}>;
var<workgroup> scores: array<f32, ${attentionInvocations}>;
var<workgroup> weights: array<f32, ${attentionInvocations}>;

@compute @workgroup_size(${attentionInvocations})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let token = group.y;
  let head = group.x / (p.heads / p.kv_heads);
  let start = (token * p.heads + group.x) * ${headDim / 4}u;
  // A query sees the positions up to its own; the queries are the last tokens.
  let visible = p.length - p.tokens + token + 1u;
  let first = visible - min(visible, p.reach);
  for (var c = local; c < ${headDim / 4}u; c += ${attentionInvocations}u) {
    query[c] = queries[start + c] * p.scale;
    sums[c] = vec4f();
  }
  workgroupBarrier();
  var top = -3.0e38;
  var total = 0.0;
  for (var base = first; base < visible; base += ${attentionInvocations}u) {
    let count = min(${attentionInvocations}u, visible - base);
    var score = -3.0e38;
    if (local < count) {
      score = 0.0;
      for (var c = 0u; c < ${headDim / 4}u; c++) {
        score += dot(query[c], key_at(head, base + local, 4u * c));
      }
    }
    scores[local] = score;
    workgroupBarrier();
    let before = top;
    for (var i = 0u; i < count; i++) {
      top = max(top, scores[i]);
    }
    weights[local] = select(0.0, exp(score - top), local < count);
    workgroupBarrier();
    let keep = exp(before - top);
    total *= keep;
    for (var i = 0u; i < count; i++) {
      total += weights[i];
    }
    for (var c = local; c < ${headDim / 4}u; c += ${attentionInvocations}u) {
      var sum = sums[c] * keep;
      for (var i = 0u; i < count; i++) {
        sum += weights[i] * value_at(head, base + i, 4u * c);
      }
      sums[c] = sum;
    }
  }
  for (var c = local; c < ${headDim / 4}u; c += ${attentionInvocations}u) {
    outputs[start + c] = sums[c] / total;
  }
}`,
  });
}

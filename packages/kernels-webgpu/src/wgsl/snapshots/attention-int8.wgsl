struct Parameters {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  capacity: u32,
  packed: u32,
  leading: u32,
  window: u32,
  length: u32,
  scale: f32,
  reach: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> queries: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read> key_scales: array<vec2f>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
@group(0) @binding(5) var<storage, read> value_scales: array<vec2f>;
@group(0) @binding(6) var<storage, read> unpacked: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> outputs: array<vec4f>;

fn key_at(head: u32, place: u32, channel: u32) -> vec4f {
  if (place < p.leading || place >= p.leading + p.packed) {
    let row = place - select(p.packed, 0u, place < p.leading);
    return unpacked[((head) * (p.leading + p.window) + row) * 16u + channel / 4u];
  }
  let position = place - p.leading;
  let at = (head * p.capacity + position) * 64u + channel;
  let word = keys[at / 4u] >> (8u * (at % 4u));
  let codes = vec4f(vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(255u));
  let pair = key_scales[(head * p.capacity + position) * 1u + (channel) / 64u];
  return (codes - pair.y) * pair.x;
}

fn value_at(head: u32, place: u32, channel: u32) -> vec4f {
  if (place < p.leading || place >= p.leading + p.packed) {
    let row = place - select(p.packed, 0u, place < p.leading);
    return unpacked[((p.kv_heads + head) * (p.leading + p.window) + row) * 16u + channel / 4u];
  }
  let position = place - p.leading;
  let at = (head * p.capacity + position) * 64u + channel;
  let word = values[at / 4u] >> (8u * (at % 4u));
  let codes = vec4f(vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(255u));
  let pair = value_scales[(head * p.capacity + position) * 1u + (channel) / 64u];
  return (codes - pair.y) * pair.x;
}

var<workgroup> query: array<vec4f, 16>;
var<workgroup> sums: array<vec4f, 16>;
var<workgroup> scores: array<f32, 64>;
var<workgroup> weights: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let token = group.y;
  let head = group.x / (p.heads / p.kv_heads);
  let start = (token * p.heads + group.x) * 16u;
  // A query sees the positions up to its own; the queries are the last tokens.
  let visible = p.length - p.tokens + token + 1u;
  let first = visible - min(visible, p.reach);
  for (var c = local; c < 16u; c += 64u) {
    query[c] = queries[start + c] * p.scale;
    sums[c] = vec4f();
  }
  workgroupBarrier();
  var top = -3.0e38;
  var total = 0.0;
  for (var base = first; base < visible; base += 64u) {
    let count = min(64u, visible - base);
    var score = -3.0e38;
    if (local < count) {
      score = 0.0;
      for (var c = 0u; c < 16u; c++) {
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
    for (var c = local; c < 16u; c += 64u) {
      var sum = sums[c] * keep;
      for (var i = 0u; i < count; i++) {
        sum += weights[i] * value_at(head, base + i, 4u * c);
      }
      sums[c] = sum;
    }
  }
  for (var c = local; c < 16u; c += 64u) {
    outputs[start + c] = sums[c] / total;
  }
}

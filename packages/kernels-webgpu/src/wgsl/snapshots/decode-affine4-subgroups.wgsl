enable subgroups;
struct Parameters {
  m: u32,
  n: u32,
  k: u32,
  stride: u32,
  column0: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

struct Eight {
  low: vec4f,
  high: vec4f,
  factor: f32,
}

fn scale_b(row: u32, k: u32) -> vec2f {
  return unpack2x16float(scales[row * ((p.k + 127u) / 128u) + k / 128u]);
}

fn scaled_b(row: u32, k: u32, scale: vec2f) -> Eight {
  let word = codes[(row * p.k + k) / 8u];
  let low = vec4f(vec4u(word, word >> 4u, word >> 8u, word >> 12u) & vec4u(15u));
  let high = vec4f(vec4u(word >> 16u, word >> 20u, word >> 24u, word >> 28u) & vec4u(15u));
  return Eight(low - scale.y, high - scale.y, scale.x);
}

fn load_b(row: u32, k: u32) -> Eight {
  return scaled_b(row, k, scale_b(row, k));
}

var<workgroup> partial: array<f32, 1024>;

@compute @workgroup_size(32)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let row0 = group.x * 8u;
  let token0 = group.y * 4u;
  var s0_0 = 0.0;
  var s0_1 = 0.0;
  var s0_2 = 0.0;
  var s0_3 = 0.0;
  var s1_0 = 0.0;
  var s1_1 = 0.0;
  var s1_2 = 0.0;
  var s1_3 = 0.0;
  var s2_0 = 0.0;
  var s2_1 = 0.0;
  var s2_2 = 0.0;
  var s2_3 = 0.0;
  var s3_0 = 0.0;
  var s3_1 = 0.0;
  var s3_2 = 0.0;
  var s3_3 = 0.0;
  var s4_0 = 0.0;
  var s4_1 = 0.0;
  var s4_2 = 0.0;
  var s4_3 = 0.0;
  var s5_0 = 0.0;
  var s5_1 = 0.0;
  var s5_2 = 0.0;
  var s5_3 = 0.0;
  var s6_0 = 0.0;
  var s6_1 = 0.0;
  var s6_2 = 0.0;
  var s6_3 = 0.0;
  var s7_0 = 0.0;
  var s7_1 = 0.0;
  var s7_2 = 0.0;
  var s7_3 = 0.0;
  for (var k = 8u * local; k < p.k; k += 256u) {
    let at0 = ((token0 + 0u) * p.k + k) / 4u;
    let low0 = a[at0];
    let high0 = a[at0 + 1u];
    let at1 = ((token0 + 1u) * p.k + k) / 4u;
    let low1 = a[at1];
    let high1 = a[at1 + 1u];
    let at2 = ((token0 + 2u) * p.k + k) / 4u;
    let low2 = a[at2];
    let high2 = a[at2 + 1u];
    let at3 = ((token0 + 3u) * p.k + k) / 4u;
    let low3 = a[at3];
    let high3 = a[at3 + 1u];
    let w0 = load_b(row0 + 0u, k);
    s0_0 += w0.factor * (dot(w0.low, low0) + dot(w0.high, high0));
    s0_1 += w0.factor * (dot(w0.low, low1) + dot(w0.high, high1));
    s0_2 += w0.factor * (dot(w0.low, low2) + dot(w0.high, high2));
    s0_3 += w0.factor * (dot(w0.low, low3) + dot(w0.high, high3));
    let w1 = load_b(row0 + 1u, k);
    s1_0 += w1.factor * (dot(w1.low, low0) + dot(w1.high, high0));
    s1_1 += w1.factor * (dot(w1.low, low1) + dot(w1.high, high1));
    s1_2 += w1.factor * (dot(w1.low, low2) + dot(w1.high, high2));
    s1_3 += w1.factor * (dot(w1.low, low3) + dot(w1.high, high3));
    let w2 = load_b(row0 + 2u, k);
    s2_0 += w2.factor * (dot(w2.low, low0) + dot(w2.high, high0));
    s2_1 += w2.factor * (dot(w2.low, low1) + dot(w2.high, high1));
    s2_2 += w2.factor * (dot(w2.low, low2) + dot(w2.high, high2));
    s2_3 += w2.factor * (dot(w2.low, low3) + dot(w2.high, high3));
    let w3 = load_b(row0 + 3u, k);
    s3_0 += w3.factor * (dot(w3.low, low0) + dot(w3.high, high0));
    s3_1 += w3.factor * (dot(w3.low, low1) + dot(w3.high, high1));
    s3_2 += w3.factor * (dot(w3.low, low2) + dot(w3.high, high2));
    s3_3 += w3.factor * (dot(w3.low, low3) + dot(w3.high, high3));
    let w4 = load_b(row0 + 4u, k);
    s4_0 += w4.factor * (dot(w4.low, low0) + dot(w4.high, high0));
    s4_1 += w4.factor * (dot(w4.low, low1) + dot(w4.high, high1));
    s4_2 += w4.factor * (dot(w4.low, low2) + dot(w4.high, high2));
    s4_3 += w4.factor * (dot(w4.low, low3) + dot(w4.high, high3));
    let w5 = load_b(row0 + 5u, k);
    s5_0 += w5.factor * (dot(w5.low, low0) + dot(w5.high, high0));
    s5_1 += w5.factor * (dot(w5.low, low1) + dot(w5.high, high1));
    s5_2 += w5.factor * (dot(w5.low, low2) + dot(w5.high, high2));
    s5_3 += w5.factor * (dot(w5.low, low3) + dot(w5.high, high3));
    let w6 = load_b(row0 + 6u, k);
    s6_0 += w6.factor * (dot(w6.low, low0) + dot(w6.high, high0));
    s6_1 += w6.factor * (dot(w6.low, low1) + dot(w6.high, high1));
    s6_2 += w6.factor * (dot(w6.low, low2) + dot(w6.high, high2));
    s6_3 += w6.factor * (dot(w6.low, low3) + dot(w6.high, high3));
    let w7 = load_b(row0 + 7u, k);
    s7_0 += w7.factor * (dot(w7.low, low0) + dot(w7.high, high0));
    s7_1 += w7.factor * (dot(w7.low, low1) + dot(w7.high, high1));
    s7_2 += w7.factor * (dot(w7.low, low2) + dot(w7.high, high2));
    s7_3 += w7.factor * (dot(w7.low, low3) + dot(w7.high, high3));
  }
  s0_0 = subgroupAdd(s0_0);
  s0_1 = subgroupAdd(s0_1);
  s0_2 = subgroupAdd(s0_2);
  s0_3 = subgroupAdd(s0_3);
  s1_0 = subgroupAdd(s1_0);
  s1_1 = subgroupAdd(s1_1);
  s1_2 = subgroupAdd(s1_2);
  s1_3 = subgroupAdd(s1_3);
  s2_0 = subgroupAdd(s2_0);
  s2_1 = subgroupAdd(s2_1);
  s2_2 = subgroupAdd(s2_2);
  s2_3 = subgroupAdd(s2_3);
  s3_0 = subgroupAdd(s3_0);
  s3_1 = subgroupAdd(s3_1);
  s3_2 = subgroupAdd(s3_2);
  s3_3 = subgroupAdd(s3_3);
  s4_0 = subgroupAdd(s4_0);
  s4_1 = subgroupAdd(s4_1);
  s4_2 = subgroupAdd(s4_2);
  s4_3 = subgroupAdd(s4_3);
  s5_0 = subgroupAdd(s5_0);
  s5_1 = subgroupAdd(s5_1);
  s5_2 = subgroupAdd(s5_2);
  s5_3 = subgroupAdd(s5_3);
  s6_0 = subgroupAdd(s6_0);
  s6_1 = subgroupAdd(s6_1);
  s6_2 = subgroupAdd(s6_2);
  s6_3 = subgroupAdd(s6_3);
  s7_0 = subgroupAdd(s7_0);
  s7_1 = subgroupAdd(s7_1);
  s7_2 = subgroupAdd(s7_2);
  s7_3 = subgroupAdd(s7_3);
  partial[local * 32u + 0u] = select(0.0, s0_0, lane == 0u);
  partial[local * 32u + 1u] = select(0.0, s0_1, lane == 0u);
  partial[local * 32u + 2u] = select(0.0, s0_2, lane == 0u);
  partial[local * 32u + 3u] = select(0.0, s0_3, lane == 0u);
  partial[local * 32u + 4u] = select(0.0, s1_0, lane == 0u);
  partial[local * 32u + 5u] = select(0.0, s1_1, lane == 0u);
  partial[local * 32u + 6u] = select(0.0, s1_2, lane == 0u);
  partial[local * 32u + 7u] = select(0.0, s1_3, lane == 0u);
  partial[local * 32u + 8u] = select(0.0, s2_0, lane == 0u);
  partial[local * 32u + 9u] = select(0.0, s2_1, lane == 0u);
  partial[local * 32u + 10u] = select(0.0, s2_2, lane == 0u);
  partial[local * 32u + 11u] = select(0.0, s2_3, lane == 0u);
  partial[local * 32u + 12u] = select(0.0, s3_0, lane == 0u);
  partial[local * 32u + 13u] = select(0.0, s3_1, lane == 0u);
  partial[local * 32u + 14u] = select(0.0, s3_2, lane == 0u);
  partial[local * 32u + 15u] = select(0.0, s3_3, lane == 0u);
  partial[local * 32u + 16u] = select(0.0, s4_0, lane == 0u);
  partial[local * 32u + 17u] = select(0.0, s4_1, lane == 0u);
  partial[local * 32u + 18u] = select(0.0, s4_2, lane == 0u);
  partial[local * 32u + 19u] = select(0.0, s4_3, lane == 0u);
  partial[local * 32u + 20u] = select(0.0, s5_0, lane == 0u);
  partial[local * 32u + 21u] = select(0.0, s5_1, lane == 0u);
  partial[local * 32u + 22u] = select(0.0, s5_2, lane == 0u);
  partial[local * 32u + 23u] = select(0.0, s5_3, lane == 0u);
  partial[local * 32u + 24u] = select(0.0, s6_0, lane == 0u);
  partial[local * 32u + 25u] = select(0.0, s6_1, lane == 0u);
  partial[local * 32u + 26u] = select(0.0, s6_2, lane == 0u);
  partial[local * 32u + 27u] = select(0.0, s6_3, lane == 0u);
  partial[local * 32u + 28u] = select(0.0, s7_0, lane == 0u);
  partial[local * 32u + 29u] = select(0.0, s7_1, lane == 0u);
  partial[local * 32u + 30u] = select(0.0, s7_2, lane == 0u);
  partial[local * 32u + 31u] = select(0.0, s7_3, lane == 0u);
  workgroupBarrier();
  if (local < 32u) {
    var total = 0.0;
    for (var i = 0u; i < 32u; i++) {
      total += partial[i * 32u + local];
    }
    let row = row0 + local / 4u;
    let token = token0 + local % 4u;
    if (row < p.n && token < p.m) {
      c[token * p.stride + p.column0 + row] = total;
    }
  }
}

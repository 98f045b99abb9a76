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

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let own = lane % 8u;
  let token0 = group.y * 8u;
  let row0 = group.x * 64u + 0u + local;
  let row1 = group.x * 64u + 8u + local;
  let row2 = group.x * 64u + 16u + local;
  let row3 = group.x * 64u + 24u + local;
  let row4 = group.x * 64u + 32u + local;
  let row5 = group.x * 64u + 40u + local;
  let row6 = group.x * 64u + 48u + local;
  let row7 = group.x * 64u + 56u + local;
  var s0_0 = 0.0;
  var s0_1 = 0.0;
  var s0_2 = 0.0;
  var s0_3 = 0.0;
  var s0_4 = 0.0;
  var s0_5 = 0.0;
  var s0_6 = 0.0;
  var s0_7 = 0.0;
  var s1_0 = 0.0;
  var s1_1 = 0.0;
  var s1_2 = 0.0;
  var s1_3 = 0.0;
  var s1_4 = 0.0;
  var s1_5 = 0.0;
  var s1_6 = 0.0;
  var s1_7 = 0.0;
  var s2_0 = 0.0;
  var s2_1 = 0.0;
  var s2_2 = 0.0;
  var s2_3 = 0.0;
  var s2_4 = 0.0;
  var s2_5 = 0.0;
  var s2_6 = 0.0;
  var s2_7 = 0.0;
  var s3_0 = 0.0;
  var s3_1 = 0.0;
  var s3_2 = 0.0;
  var s3_3 = 0.0;
  var s3_4 = 0.0;
  var s3_5 = 0.0;
  var s3_6 = 0.0;
  var s3_7 = 0.0;
  var s4_0 = 0.0;
  var s4_1 = 0.0;
  var s4_2 = 0.0;
  var s4_3 = 0.0;
  var s4_4 = 0.0;
  var s4_5 = 0.0;
  var s4_6 = 0.0;
  var s4_7 = 0.0;
  var s5_0 = 0.0;
  var s5_1 = 0.0;
  var s5_2 = 0.0;
  var s5_3 = 0.0;
  var s5_4 = 0.0;
  var s5_5 = 0.0;
  var s5_6 = 0.0;
  var s5_7 = 0.0;
  var s6_0 = 0.0;
  var s6_1 = 0.0;
  var s6_2 = 0.0;
  var s6_3 = 0.0;
  var s6_4 = 0.0;
  var s6_5 = 0.0;
  var s6_6 = 0.0;
  var s6_7 = 0.0;
  var s7_0 = 0.0;
  var s7_1 = 0.0;
  var s7_2 = 0.0;
  var s7_3 = 0.0;
  var s7_4 = 0.0;
  var s7_5 = 0.0;
  var s7_6 = 0.0;
  var s7_7 = 0.0;
  for (var k0 = 0u; k0 < p.k; k0 += 32u) {
    let scale0 = scale_b(row0, k0);
    let scale1 = scale_b(row1, k0);
    let scale2 = scale_b(row2, k0);
    let scale3 = scale_b(row3, k0);
    let scale4 = scale_b(row4, k0);
    let scale5 = scale_b(row5, k0);
    let scale6 = scale_b(row6, k0);
    let scale7 = scale_b(row7, k0);
    let x0 = select(vec4f(), a[((token0 + 0u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x1 = select(vec4f(), a[((token0 + 1u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x2 = select(vec4f(), a[((token0 + 2u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x3 = select(vec4f(), a[((token0 + 3u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x4 = select(vec4f(), a[((token0 + 4u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x5 = select(vec4f(), a[((token0 + 5u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x6 = select(vec4f(), a[((token0 + 6u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    let x7 = select(vec4f(), a[((token0 + 7u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    for (var source = 0u; source < 8u; source += 2u) {
      let k = k0 + 4u * source;
      let w0 = scaled_b(row0, k, scale0);
      let w1 = scaled_b(row1, k, scale1);
      let w2 = scaled_b(row2, k, scale2);
      let w3 = scaled_b(row3, k, scale3);
      let w4 = scaled_b(row4, k, scale4);
      let w5 = scaled_b(row5, k, scale5);
      let w6 = scaled_b(row6, k, scale6);
      let w7 = scaled_b(row7, k, scale7);
      let low0 = subgroupShuffle(x0, source);
      let high0 = subgroupShuffle(x0, source + 1u);
      s0_0 += w0.factor * (dot(w0.low, low0) + dot(w0.high, high0));
      s1_0 += w1.factor * (dot(w1.low, low0) + dot(w1.high, high0));
      s2_0 += w2.factor * (dot(w2.low, low0) + dot(w2.high, high0));
      s3_0 += w3.factor * (dot(w3.low, low0) + dot(w3.high, high0));
      s4_0 += w4.factor * (dot(w4.low, low0) + dot(w4.high, high0));
      s5_0 += w5.factor * (dot(w5.low, low0) + dot(w5.high, high0));
      s6_0 += w6.factor * (dot(w6.low, low0) + dot(w6.high, high0));
      s7_0 += w7.factor * (dot(w7.low, low0) + dot(w7.high, high0));
      let low1 = subgroupShuffle(x1, source);
      let high1 = subgroupShuffle(x1, source + 1u);
      s0_1 += w0.factor * (dot(w0.low, low1) + dot(w0.high, high1));
      s1_1 += w1.factor * (dot(w1.low, low1) + dot(w1.high, high1));
      s2_1 += w2.factor * (dot(w2.low, low1) + dot(w2.high, high1));
      s3_1 += w3.factor * (dot(w3.low, low1) + dot(w3.high, high1));
      s4_1 += w4.factor * (dot(w4.low, low1) + dot(w4.high, high1));
      s5_1 += w5.factor * (dot(w5.low, low1) + dot(w5.high, high1));
      s6_1 += w6.factor * (dot(w6.low, low1) + dot(w6.high, high1));
      s7_1 += w7.factor * (dot(w7.low, low1) + dot(w7.high, high1));
      let low2 = subgroupShuffle(x2, source);
      let high2 = subgroupShuffle(x2, source + 1u);
      s0_2 += w0.factor * (dot(w0.low, low2) + dot(w0.high, high2));
      s1_2 += w1.factor * (dot(w1.low, low2) + dot(w1.high, high2));
      s2_2 += w2.factor * (dot(w2.low, low2) + dot(w2.high, high2));
      s3_2 += w3.factor * (dot(w3.low, low2) + dot(w3.high, high2));
      s4_2 += w4.factor * (dot(w4.low, low2) + dot(w4.high, high2));
      s5_2 += w5.factor * (dot(w5.low, low2) + dot(w5.high, high2));
      s6_2 += w6.factor * (dot(w6.low, low2) + dot(w6.high, high2));
      s7_2 += w7.factor * (dot(w7.low, low2) + dot(w7.high, high2));
      let low3 = subgroupShuffle(x3, source);
      let high3 = subgroupShuffle(x3, source + 1u);
      s0_3 += w0.factor * (dot(w0.low, low3) + dot(w0.high, high3));
      s1_3 += w1.factor * (dot(w1.low, low3) + dot(w1.high, high3));
      s2_3 += w2.factor * (dot(w2.low, low3) + dot(w2.high, high3));
      s3_3 += w3.factor * (dot(w3.low, low3) + dot(w3.high, high3));
      s4_3 += w4.factor * (dot(w4.low, low3) + dot(w4.high, high3));
      s5_3 += w5.factor * (dot(w5.low, low3) + dot(w5.high, high3));
      s6_3 += w6.factor * (dot(w6.low, low3) + dot(w6.high, high3));
      s7_3 += w7.factor * (dot(w7.low, low3) + dot(w7.high, high3));
      let low4 = subgroupShuffle(x4, source);
      let high4 = subgroupShuffle(x4, source + 1u);
      s0_4 += w0.factor * (dot(w0.low, low4) + dot(w0.high, high4));
      s1_4 += w1.factor * (dot(w1.low, low4) + dot(w1.high, high4));
      s2_4 += w2.factor * (dot(w2.low, low4) + dot(w2.high, high4));
      s3_4 += w3.factor * (dot(w3.low, low4) + dot(w3.high, high4));
      s4_4 += w4.factor * (dot(w4.low, low4) + dot(w4.high, high4));
      s5_4 += w5.factor * (dot(w5.low, low4) + dot(w5.high, high4));
      s6_4 += w6.factor * (dot(w6.low, low4) + dot(w6.high, high4));
      s7_4 += w7.factor * (dot(w7.low, low4) + dot(w7.high, high4));
      let low5 = subgroupShuffle(x5, source);
      let high5 = subgroupShuffle(x5, source + 1u);
      s0_5 += w0.factor * (dot(w0.low, low5) + dot(w0.high, high5));
      s1_5 += w1.factor * (dot(w1.low, low5) + dot(w1.high, high5));
      s2_5 += w2.factor * (dot(w2.low, low5) + dot(w2.high, high5));
      s3_5 += w3.factor * (dot(w3.low, low5) + dot(w3.high, high5));
      s4_5 += w4.factor * (dot(w4.low, low5) + dot(w4.high, high5));
      s5_5 += w5.factor * (dot(w5.low, low5) + dot(w5.high, high5));
      s6_5 += w6.factor * (dot(w6.low, low5) + dot(w6.high, high5));
      s7_5 += w7.factor * (dot(w7.low, low5) + dot(w7.high, high5));
      let low6 = subgroupShuffle(x6, source);
      let high6 = subgroupShuffle(x6, source + 1u);
      s0_6 += w0.factor * (dot(w0.low, low6) + dot(w0.high, high6));
      s1_6 += w1.factor * (dot(w1.low, low6) + dot(w1.high, high6));
      s2_6 += w2.factor * (dot(w2.low, low6) + dot(w2.high, high6));
      s3_6 += w3.factor * (dot(w3.low, low6) + dot(w3.high, high6));
      s4_6 += w4.factor * (dot(w4.low, low6) + dot(w4.high, high6));
      s5_6 += w5.factor * (dot(w5.low, low6) + dot(w5.high, high6));
      s6_6 += w6.factor * (dot(w6.low, low6) + dot(w6.high, high6));
      s7_6 += w7.factor * (dot(w7.low, low6) + dot(w7.high, high6));
      let low7 = subgroupShuffle(x7, source);
      let high7 = subgroupShuffle(x7, source + 1u);
      s0_7 += w0.factor * (dot(w0.low, low7) + dot(w0.high, high7));
      s1_7 += w1.factor * (dot(w1.low, low7) + dot(w1.high, high7));
      s2_7 += w2.factor * (dot(w2.low, low7) + dot(w2.high, high7));
      s3_7 += w3.factor * (dot(w3.low, low7) + dot(w3.high, high7));
      s4_7 += w4.factor * (dot(w4.low, low7) + dot(w4.high, high7));
      s5_7 += w5.factor * (dot(w5.low, low7) + dot(w5.high, high7));
      s6_7 += w6.factor * (dot(w6.low, low7) + dot(w6.high, high7));
      s7_7 += w7.factor * (dot(w7.low, low7) + dot(w7.high, high7));
    }
  }
  store(token0 + 0u, row0, s0_0);
  store(token0 + 1u, row0, s0_1);
  store(token0 + 2u, row0, s0_2);
  store(token0 + 3u, row0, s0_3);
  store(token0 + 4u, row0, s0_4);
  store(token0 + 5u, row0, s0_5);
  store(token0 + 6u, row0, s0_6);
  store(token0 + 7u, row0, s0_7);
  store(token0 + 0u, row1, s1_0);
  store(token0 + 1u, row1, s1_1);
  store(token0 + 2u, row1, s1_2);
  store(token0 + 3u, row1, s1_3);
  store(token0 + 4u, row1, s1_4);
  store(token0 + 5u, row1, s1_5);
  store(token0 + 6u, row1, s1_6);
  store(token0 + 7u, row1, s1_7);
  store(token0 + 0u, row2, s2_0);
  store(token0 + 1u, row2, s2_1);
  store(token0 + 2u, row2, s2_2);
  store(token0 + 3u, row2, s2_3);
  store(token0 + 4u, row2, s2_4);
  store(token0 + 5u, row2, s2_5);
  store(token0 + 6u, row2, s2_6);
  store(token0 + 7u, row2, s2_7);
  store(token0 + 0u, row3, s3_0);
  store(token0 + 1u, row3, s3_1);
  store(token0 + 2u, row3, s3_2);
  store(token0 + 3u, row3, s3_3);
  store(token0 + 4u, row3, s3_4);
  store(token0 + 5u, row3, s3_5);
  store(token0 + 6u, row3, s3_6);
  store(token0 + 7u, row3, s3_7);
  store(token0 + 0u, row4, s4_0);
  store(token0 + 1u, row4, s4_1);
  store(token0 + 2u, row4, s4_2);
  store(token0 + 3u, row4, s4_3);
  store(token0 + 4u, row4, s4_4);
  store(token0 + 5u, row4, s4_5);
  store(token0 + 6u, row4, s4_6);
  store(token0 + 7u, row4, s4_7);
  store(token0 + 0u, row5, s5_0);
  store(token0 + 1u, row5, s5_1);
  store(token0 + 2u, row5, s5_2);
  store(token0 + 3u, row5, s5_3);
  store(token0 + 4u, row5, s5_4);
  store(token0 + 5u, row5, s5_5);
  store(token0 + 6u, row5, s5_6);
  store(token0 + 7u, row5, s5_7);
  store(token0 + 0u, row6, s6_0);
  store(token0 + 1u, row6, s6_1);
  store(token0 + 2u, row6, s6_2);
  store(token0 + 3u, row6, s6_3);
  store(token0 + 4u, row6, s6_4);
  store(token0 + 5u, row6, s6_5);
  store(token0 + 6u, row6, s6_6);
  store(token0 + 7u, row6, s6_7);
  store(token0 + 0u, row7, s7_0);
  store(token0 + 1u, row7, s7_1);
  store(token0 + 2u, row7, s7_2);
  store(token0 + 3u, row7, s7_3);
  store(token0 + 4u, row7, s7_4);
  store(token0 + 5u, row7, s7_5);
  store(token0 + 6u, row7, s7_6);
  store(token0 + 7u, row7, s7_7);
}

fn store(token: u32, row: u32, value: f32) {
  if (token < p.m && row < p.n) {
    c[token * p.stride + p.column0 + row] = value;
  }
}

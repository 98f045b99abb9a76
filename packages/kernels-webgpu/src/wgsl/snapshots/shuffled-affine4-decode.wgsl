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
  let own = lane % 4u;
  let token0 = group.y * 1u;
  let row0 = group.x * 64u + 0u + local;
  let row1 = group.x * 64u + 8u + local;
  let row2 = group.x * 64u + 16u + local;
  let row3 = group.x * 64u + 24u + local;
  let row4 = group.x * 64u + 32u + local;
  let row5 = group.x * 64u + 40u + local;
  let row6 = group.x * 64u + 48u + local;
  let row7 = group.x * 64u + 56u + local;
  var s0_0 = 0.0;
  var s1_0 = 0.0;
  var s2_0 = 0.0;
  var s3_0 = 0.0;
  var s4_0 = 0.0;
  var s5_0 = 0.0;
  var s6_0 = 0.0;
  var s7_0 = 0.0;
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    let scale0 = scale_b(row0, k0);
    let scale1 = scale_b(row1, k0);
    let scale2 = scale_b(row2, k0);
    let scale3 = scale_b(row3, k0);
    let scale4 = scale_b(row4, k0);
    let scale5 = scale_b(row5, k0);
    let scale6 = scale_b(row6, k0);
    let scale7 = scale_b(row7, k0);
    let x0 = select(vec4f(), a[((token0 + 0u) * p.k + k0) / 4u + own], k0 + 4u * own < p.k);
    for (var source = 0u; source < 4u; source += 2u) {
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
    }
  }
  store(token0 + 0u, row0, s0_0);
  store(token0 + 0u, row1, s1_0);
  store(token0 + 0u, row2, s2_0);
  store(token0 + 0u, row3, s3_0);
  store(token0 + 0u, row4, s4_0);
  store(token0 + 0u, row5, s5_0);
  store(token0 + 0u, row6, s6_0);
  store(token0 + 0u, row7, s7_0);
}

fn store(token: u32, row: u32, value: f32) {
  if (token < p.m && row < p.n) {
    c[token * p.stride + p.column0 + row] = value;
  }
}

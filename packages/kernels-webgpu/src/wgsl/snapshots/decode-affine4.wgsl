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

var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row0 = group.x * 4u;
  let token0 = group.y * 1u;
  var s0_0 = 0.0;
  var s1_0 = 0.0;
  var s2_0 = 0.0;
  var s3_0 = 0.0;
  for (var k = 8u * local; k < p.k; k += 512u) {
    let at0 = ((token0 + 0u) * p.k + k) / 4u;
    let low0 = a[at0];
    let high0 = a[at0 + 1u];
    let w0 = load_b(row0 + 0u, k);
    s0_0 += w0.factor * (dot(w0.low, low0) + dot(w0.high, high0));
    let w1 = load_b(row0 + 1u, k);
    s1_0 += w1.factor * (dot(w1.low, low0) + dot(w1.high, high0));
    let w2 = load_b(row0 + 2u, k);
    s2_0 += w2.factor * (dot(w2.low, low0) + dot(w2.high, high0));
    let w3 = load_b(row0 + 3u, k);
    s3_0 += w3.factor * (dot(w3.low, low0) + dot(w3.high, high0));
  }
  partial[local * 4u + 0u] = s0_0;
  partial[local * 4u + 1u] = s1_0;
  partial[local * 4u + 2u] = s2_0;
  partial[local * 4u + 3u] = s3_0;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    for (var i = local; i < half * 4u; i += 64u) {
      partial[i] += partial[i + half * 4u];
    }
  }
  workgroupBarrier();
  if (local < 4u) {
    let total = partial[local];
    let row = row0 + local / 1u;
    let token = token0 + local % 1u;
    if (row < p.n && token < p.m) {
      c[token * p.stride + p.column0 + row] = total;
    }
  }
}

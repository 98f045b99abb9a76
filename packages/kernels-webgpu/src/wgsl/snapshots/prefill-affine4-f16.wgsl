enable f16;
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
fn load_a(row: u32, k: u32) -> vec4f {
  return a[(row * p.k + k) / 4u];
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
var<workgroup> tile_a: array<vec4h, 256>;
var<workgroup> tile_b: array<vec4h, 256>;

fn store(row: u32, column: u32, value: f32) {
  if (row < p.m && column < p.n) {
    let at = row * p.stride + p.column0 + column;
    c[at] = value;
  }
}

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row0 = group.y * 64u;
  let column0 = group.x * 64u;
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
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    for (var i = index; i < 256u; i += 256u) {
      let row = i % 64u;
      let quad = i / 64u;
      var v = vec4f();
      if (k0 + 4u * quad < p.k) {
        v = load_a(row0 + row, k0 + 4u * quad);
      }
      tile_a[quad * 64u + row] = vec4h(v);
    }
    for (var i = index; i < 128u; i += 256u) {
      let row = i % 64u;
      let quad = 2u * (i / 64u);
      var w = Eight();
      if (k0 + 4u * quad < p.k) {
        w = load_b(column0 + row, k0 + 4u * quad);
      }
      tile_b[quad * 64u + row] = vec4h(w.low * w.factor);
      tile_b[(quad + 1u) * 64u + row] = vec4h(w.high * w.factor);
    }
    workgroupBarrier();
    for (var quad = 0u; quad < 4u; quad++) {
      let a0 = tile_a[quad * 64u + local.y + 0u];
      let a1 = tile_a[quad * 64u + local.y + 16u];
      let a2 = tile_a[quad * 64u + local.y + 32u];
      let a3 = tile_a[quad * 64u + local.y + 48u];
      let b0 = tile_b[quad * 64u + local.x + 0u];
      let b1 = tile_b[quad * 64u + local.x + 16u];
      let b2 = tile_b[quad * 64u + local.x + 32u];
      let b3 = tile_b[quad * 64u + local.x + 48u];
      s0_0 += f32(dot(a0, b0));
      s0_1 += f32(dot(a0, b1));
      s0_2 += f32(dot(a0, b2));
      s0_3 += f32(dot(a0, b3));
      s1_0 += f32(dot(a1, b0));
      s1_1 += f32(dot(a1, b1));
      s1_2 += f32(dot(a1, b2));
      s1_3 += f32(dot(a1, b3));
      s2_0 += f32(dot(a2, b0));
      s2_1 += f32(dot(a2, b1));
      s2_2 += f32(dot(a2, b2));
      s2_3 += f32(dot(a2, b3));
      s3_0 += f32(dot(a3, b0));
      s3_1 += f32(dot(a3, b1));
      s3_2 += f32(dot(a3, b2));
      s3_3 += f32(dot(a3, b3));
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<f32, 16>(s0_0, s0_1, s0_2, s0_3, s1_0, s1_1, s1_2, s1_3, s2_0, s2_1, s2_2, s2_3, s3_0, s3_1, s3_2, s3_3);
  for (var i = 0u; i < 16u; i++) {
    store(row0 + local.y + 16u * (i / 4u), column0 + local.x + 16u * (i % 4u), sums[i]);
  }
}

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
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

struct Eight {
  low: vec4f,
  high: vec4f,
  factor: f32,
}
fn load_a(row: u32, k: u32) -> vec4f {
  return a[(row * p.k + k) / 4u];
}
fn scale_of(row: u32, k: u32) -> f32 {
  let index = (row / 128u) * ((p.k + 127u) / 128u) + k / 128u;
  return scales[index];
}

fn floats_of(word: u32) -> vec4f {
  let bytes = vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(255u);
  let magnitude = bytes & vec4u(127u);
  let normal = bitcast<vec4f>((magnitude << vec4u(20u)) + vec4u(120u << 23u));
  let value = select(normal, vec4f(magnitude) * 0.001953125, magnitude < vec4u(8u));
  return select(value, -value, bytes > vec4u(127u));
}

fn load_b(row: u32, k: u32) -> Eight {
  let at = (row * p.k + k) / 4u;
  return Eight(floats_of(codes[at]), floats_of(codes[at + 1u]), scale_of(row, k));
}
var<workgroup> tile_a: array<vec4f, 64>;
var<workgroup> tile_b: array<vec4f, 64>;

fn store(row: u32, column: u32, value: f32) {
  if (row < p.m && column < p.n) {
    let at = row * p.stride + p.column0 + column;
    c[at] = value;
  }
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row0 = group.y * 32u;
  let column0 = group.x * 32u;
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
  for (var k0 = 0u; k0 < p.k; k0 += 8u) {
    for (var i = index; i < 64u; i += 64u) {
      let row = i % 32u;
      let quad = i / 32u;
      var v = vec4f();
      if (k0 + 4u * quad < p.k) {
        v = load_a(row0 + row, k0 + 4u * quad);
      }
      tile_a[quad * 32u + row] = vec4f(v);
    }
    for (var i = index; i < 32u; i += 64u) {
      let row = i % 32u;
      let quad = 2u * (i / 32u);
      var w = Eight();
      if (k0 + 4u * quad < p.k) {
        w = load_b(column0 + row, k0 + 4u * quad);
      }
      tile_b[quad * 32u + row] = vec4f(w.low * w.factor);
      tile_b[(quad + 1u) * 32u + row] = vec4f(w.high * w.factor);
    }
    workgroupBarrier();
    for (var quad = 0u; quad < 2u; quad++) {
      let a0 = tile_a[quad * 32u + local.y + 0u];
      let a1 = tile_a[quad * 32u + local.y + 8u];
      let a2 = tile_a[quad * 32u + local.y + 16u];
      let a3 = tile_a[quad * 32u + local.y + 24u];
      let b0 = tile_b[quad * 32u + local.x + 0u];
      let b1 = tile_b[quad * 32u + local.x + 8u];
      let b2 = tile_b[quad * 32u + local.x + 16u];
      let b3 = tile_b[quad * 32u + local.x + 24u];
      s0_0 += dot(a0, b0);
      s0_1 += dot(a0, b1);
      s0_2 += dot(a0, b2);
      s0_3 += dot(a0, b3);
      s1_0 += dot(a1, b0);
      s1_1 += dot(a1, b1);
      s1_2 += dot(a1, b2);
      s1_3 += dot(a1, b3);
      s2_0 += dot(a2, b0);
      s2_1 += dot(a2, b1);
      s2_2 += dot(a2, b2);
      s2_3 += dot(a2, b3);
      s3_0 += dot(a3, b0);
      s3_1 += dot(a3, b1);
      s3_2 += dot(a3, b2);
      s3_3 += dot(a3, b3);
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<f32, 16>(s0_0, s0_1, s0_2, s0_3, s1_0, s1_1, s1_2, s1_3, s2_0, s2_1, s2_2, s2_3, s3_0, s3_1, s3_2, s3_3);
  for (var i = 0u; i < 16u; i++) {
    store(row0 + local.y + 8u * (i / 4u), column0 + local.x + 8u * (i % 4u), sums[i]);
  }
}

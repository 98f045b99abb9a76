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
var<workgroup> tile_a: array<vec4f, 256>;
var<workgroup> tile_b: array<vec4f, 256>;

fn store(row: u32, column: u32, value: f32) {
  if (row < p.m && column < p.n) {
    let at = row * p.stride + p.column0 + column;
    c[at] = value;
  }
}

@compute @workgroup_size(8, 4)
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
  var s8_0 = 0.0;
  var s8_1 = 0.0;
  var s8_2 = 0.0;
  var s8_3 = 0.0;
  var s8_4 = 0.0;
  var s8_5 = 0.0;
  var s8_6 = 0.0;
  var s8_7 = 0.0;
  var s9_0 = 0.0;
  var s9_1 = 0.0;
  var s9_2 = 0.0;
  var s9_3 = 0.0;
  var s9_4 = 0.0;
  var s9_5 = 0.0;
  var s9_6 = 0.0;
  var s9_7 = 0.0;
  var s10_0 = 0.0;
  var s10_1 = 0.0;
  var s10_2 = 0.0;
  var s10_3 = 0.0;
  var s10_4 = 0.0;
  var s10_5 = 0.0;
  var s10_6 = 0.0;
  var s10_7 = 0.0;
  var s11_0 = 0.0;
  var s11_1 = 0.0;
  var s11_2 = 0.0;
  var s11_3 = 0.0;
  var s11_4 = 0.0;
  var s11_5 = 0.0;
  var s11_6 = 0.0;
  var s11_7 = 0.0;
  var s12_0 = 0.0;
  var s12_1 = 0.0;
  var s12_2 = 0.0;
  var s12_3 = 0.0;
  var s12_4 = 0.0;
  var s12_5 = 0.0;
  var s12_6 = 0.0;
  var s12_7 = 0.0;
  var s13_0 = 0.0;
  var s13_1 = 0.0;
  var s13_2 = 0.0;
  var s13_3 = 0.0;
  var s13_4 = 0.0;
  var s13_5 = 0.0;
  var s13_6 = 0.0;
  var s13_7 = 0.0;
  var s14_0 = 0.0;
  var s14_1 = 0.0;
  var s14_2 = 0.0;
  var s14_3 = 0.0;
  var s14_4 = 0.0;
  var s14_5 = 0.0;
  var s14_6 = 0.0;
  var s14_7 = 0.0;
  var s15_0 = 0.0;
  var s15_1 = 0.0;
  var s15_2 = 0.0;
  var s15_3 = 0.0;
  var s15_4 = 0.0;
  var s15_5 = 0.0;
  var s15_6 = 0.0;
  var s15_7 = 0.0;
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    for (var i = index; i < 256u; i += 32u) {
      let row = i % 64u;
      let quad = i / 64u;
      var v = vec4f();
      if (k0 + 4u * quad < p.k) {
        v = load_a(row0 + row, k0 + 4u * quad);
      }
      tile_a[quad * 64u + row] = vec4f(v);
    }
    for (var i = index; i < 128u; i += 32u) {
      let row = i % 64u;
      let quad = 2u * (i / 64u);
      var w = Eight();
      if (k0 + 4u * quad < p.k) {
        w = load_b(column0 + row, k0 + 4u * quad);
      }
      tile_b[quad * 64u + row] = vec4f(w.low * w.factor);
      tile_b[(quad + 1u) * 64u + row] = vec4f(w.high * w.factor);
    }
    workgroupBarrier();
    for (var quad = 0u; quad < 4u; quad++) {
      let a0 = tile_a[quad * 64u + local.y + 0u];
      let a1 = tile_a[quad * 64u + local.y + 4u];
      let a2 = tile_a[quad * 64u + local.y + 8u];
      let a3 = tile_a[quad * 64u + local.y + 12u];
      let a4 = tile_a[quad * 64u + local.y + 16u];
      let a5 = tile_a[quad * 64u + local.y + 20u];
      let a6 = tile_a[quad * 64u + local.y + 24u];
      let a7 = tile_a[quad * 64u + local.y + 28u];
      let a8 = tile_a[quad * 64u + local.y + 32u];
      let a9 = tile_a[quad * 64u + local.y + 36u];
      let a10 = tile_a[quad * 64u + local.y + 40u];
      let a11 = tile_a[quad * 64u + local.y + 44u];
      let a12 = tile_a[quad * 64u + local.y + 48u];
      let a13 = tile_a[quad * 64u + local.y + 52u];
      let a14 = tile_a[quad * 64u + local.y + 56u];
      let a15 = tile_a[quad * 64u + local.y + 60u];
      let b0 = tile_b[quad * 64u + local.x + 0u];
      let b1 = tile_b[quad * 64u + local.x + 8u];
      let b2 = tile_b[quad * 64u + local.x + 16u];
      let b3 = tile_b[quad * 64u + local.x + 24u];
      let b4 = tile_b[quad * 64u + local.x + 32u];
      let b5 = tile_b[quad * 64u + local.x + 40u];
      let b6 = tile_b[quad * 64u + local.x + 48u];
      let b7 = tile_b[quad * 64u + local.x + 56u];
      s0_0 += dot(a0, b0);
      s0_1 += dot(a0, b1);
      s0_2 += dot(a0, b2);
      s0_3 += dot(a0, b3);
      s0_4 += dot(a0, b4);
      s0_5 += dot(a0, b5);
      s0_6 += dot(a0, b6);
      s0_7 += dot(a0, b7);
      s1_0 += dot(a1, b0);
      s1_1 += dot(a1, b1);
      s1_2 += dot(a1, b2);
      s1_3 += dot(a1, b3);
      s1_4 += dot(a1, b4);
      s1_5 += dot(a1, b5);
      s1_6 += dot(a1, b6);
      s1_7 += dot(a1, b7);
      s2_0 += dot(a2, b0);
      s2_1 += dot(a2, b1);
      s2_2 += dot(a2, b2);
      s2_3 += dot(a2, b3);
      s2_4 += dot(a2, b4);
      s2_5 += dot(a2, b5);
      s2_6 += dot(a2, b6);
      s2_7 += dot(a2, b7);
      s3_0 += dot(a3, b0);
      s3_1 += dot(a3, b1);
      s3_2 += dot(a3, b2);
      s3_3 += dot(a3, b3);
      s3_4 += dot(a3, b4);
      s3_5 += dot(a3, b5);
      s3_6 += dot(a3, b6);
      s3_7 += dot(a3, b7);
      s4_0 += dot(a4, b0);
      s4_1 += dot(a4, b1);
      s4_2 += dot(a4, b2);
      s4_3 += dot(a4, b3);
      s4_4 += dot(a4, b4);
      s4_5 += dot(a4, b5);
      s4_6 += dot(a4, b6);
      s4_7 += dot(a4, b7);
      s5_0 += dot(a5, b0);
      s5_1 += dot(a5, b1);
      s5_2 += dot(a5, b2);
      s5_3 += dot(a5, b3);
      s5_4 += dot(a5, b4);
      s5_5 += dot(a5, b5);
      s5_6 += dot(a5, b6);
      s5_7 += dot(a5, b7);
      s6_0 += dot(a6, b0);
      s6_1 += dot(a6, b1);
      s6_2 += dot(a6, b2);
      s6_3 += dot(a6, b3);
      s6_4 += dot(a6, b4);
      s6_5 += dot(a6, b5);
      s6_6 += dot(a6, b6);
      s6_7 += dot(a6, b7);
      s7_0 += dot(a7, b0);
      s7_1 += dot(a7, b1);
      s7_2 += dot(a7, b2);
      s7_3 += dot(a7, b3);
      s7_4 += dot(a7, b4);
      s7_5 += dot(a7, b5);
      s7_6 += dot(a7, b6);
      s7_7 += dot(a7, b7);
      s8_0 += dot(a8, b0);
      s8_1 += dot(a8, b1);
      s8_2 += dot(a8, b2);
      s8_3 += dot(a8, b3);
      s8_4 += dot(a8, b4);
      s8_5 += dot(a8, b5);
      s8_6 += dot(a8, b6);
      s8_7 += dot(a8, b7);
      s9_0 += dot(a9, b0);
      s9_1 += dot(a9, b1);
      s9_2 += dot(a9, b2);
      s9_3 += dot(a9, b3);
      s9_4 += dot(a9, b4);
      s9_5 += dot(a9, b5);
      s9_6 += dot(a9, b6);
      s9_7 += dot(a9, b7);
      s10_0 += dot(a10, b0);
      s10_1 += dot(a10, b1);
      s10_2 += dot(a10, b2);
      s10_3 += dot(a10, b3);
      s10_4 += dot(a10, b4);
      s10_5 += dot(a10, b5);
      s10_6 += dot(a10, b6);
      s10_7 += dot(a10, b7);
      s11_0 += dot(a11, b0);
      s11_1 += dot(a11, b1);
      s11_2 += dot(a11, b2);
      s11_3 += dot(a11, b3);
      s11_4 += dot(a11, b4);
      s11_5 += dot(a11, b5);
      s11_6 += dot(a11, b6);
      s11_7 += dot(a11, b7);
      s12_0 += dot(a12, b0);
      s12_1 += dot(a12, b1);
      s12_2 += dot(a12, b2);
      s12_3 += dot(a12, b3);
      s12_4 += dot(a12, b4);
      s12_5 += dot(a12, b5);
      s12_6 += dot(a12, b6);
      s12_7 += dot(a12, b7);
      s13_0 += dot(a13, b0);
      s13_1 += dot(a13, b1);
      s13_2 += dot(a13, b2);
      s13_3 += dot(a13, b3);
      s13_4 += dot(a13, b4);
      s13_5 += dot(a13, b5);
      s13_6 += dot(a13, b6);
      s13_7 += dot(a13, b7);
      s14_0 += dot(a14, b0);
      s14_1 += dot(a14, b1);
      s14_2 += dot(a14, b2);
      s14_3 += dot(a14, b3);
      s14_4 += dot(a14, b4);
      s14_5 += dot(a14, b5);
      s14_6 += dot(a14, b6);
      s14_7 += dot(a14, b7);
      s15_0 += dot(a15, b0);
      s15_1 += dot(a15, b1);
      s15_2 += dot(a15, b2);
      s15_3 += dot(a15, b3);
      s15_4 += dot(a15, b4);
      s15_5 += dot(a15, b5);
      s15_6 += dot(a15, b6);
      s15_7 += dot(a15, b7);
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<f32, 128>(s0_0, s0_1, s0_2, s0_3, s0_4, s0_5, s0_6, s0_7, s1_0, s1_1, s1_2, s1_3, s1_4, s1_5, s1_6, s1_7, s2_0, s2_1, s2_2, s2_3, s2_4, s2_5, s2_6, s2_7, s3_0, s3_1, s3_2, s3_3, s3_4, s3_5, s3_6, s3_7, s4_0, s4_1, s4_2, s4_3, s4_4, s4_5, s4_6, s4_7, s5_0, s5_1, s5_2, s5_3, s5_4, s5_5, s5_6, s5_7, s6_0, s6_1, s6_2, s6_3, s6_4, s6_5, s6_6, s6_7, s7_0, s7_1, s7_2, s7_3, s7_4, s7_5, s7_6, s7_7, s8_0, s8_1, s8_2, s8_3, s8_4, s8_5, s8_6, s8_7, s9_0, s9_1, s9_2, s9_3, s9_4, s9_5, s9_6, s9_7, s10_0, s10_1, s10_2, s10_3, s10_4, s10_5, s10_6, s10_7, s11_0, s11_1, s11_2, s11_3, s11_4, s11_5, s11_6, s11_7, s12_0, s12_1, s12_2, s12_3, s12_4, s12_5, s12_6, s12_7, s13_0, s13_1, s13_2, s13_3, s13_4, s13_5, s13_6, s13_7, s14_0, s14_1, s14_2, s14_3, s14_4, s14_5, s14_6, s14_7, s15_0, s15_1, s15_2, s15_3, s15_4, s15_5, s15_6, s15_7);
  for (var i = 0u; i < 128u; i++) {
    store(row0 + local.y + 4u * (i / 8u), column0 + local.x + 8u * (i % 8u), sums[i]);
  }
}

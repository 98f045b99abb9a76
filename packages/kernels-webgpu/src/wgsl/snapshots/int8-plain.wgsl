struct Parameters {
  m: u32,
  n: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> row_scales: array<f32>;
@group(0) @binding(4) var<storage, read> column_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

fn bytes_of(word: u32) -> vec4i {
  return bitcast<vec4i>(vec4u(word << 24u, word << 16u, word << 8u, word)) >> vec4u(24u);
}

fn dot_bytes(a: u32, b: u32) -> i32 {
  return dot(bytes_of(a), bytes_of(b));
}

var<workgroup> tile_a: array<u32, 1024>;
var<workgroup> tile_b: array<u32, 1024>;

fn store(row: u32, column: u32, sum: i32) {
  if (row < p.m && column < p.n) {
    c[row * p.n + column] = f32(sum) * (row_scales[row] * column_scales[column]);
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
  var s0_0 = 0i;
  var s0_1 = 0i;
  var s0_2 = 0i;
  var s0_3 = 0i;
  var s1_0 = 0i;
  var s1_1 = 0i;
  var s1_2 = 0i;
  var s1_3 = 0i;
  var s2_0 = 0i;
  var s2_1 = 0i;
  var s2_2 = 0i;
  var s2_3 = 0i;
  var s3_0 = 0i;
  var s3_1 = 0i;
  var s3_2 = 0i;
  var s3_3 = 0i;
  for (var k0 = 0u; k0 < p.words; k0 += 16u) {
    for (var i = index; i < 1024u; i += 256u) {
      let row = i % 64u;
      let word = i / 64u;
      var v = 0u;
      if (k0 + word < p.words) {
        v = a[(row0 + row) * p.words + k0 + word];
      }
      tile_a[i] = v;
    }
    for (var i = index; i < 1024u; i += 256u) {
      let row = i % 64u;
      let word = i / 64u;
      var v = 0u;
      if (k0 + word < p.words) {
        v = b[(column0 + row) * p.words + k0 + word];
      }
      tile_b[i] = v;
    }
    workgroupBarrier();
    for (var word = 0u; word < 16u; word++) {
      let a0 = tile_a[word * 64u + local.y + 0u];
      let a1 = tile_a[word * 64u + local.y + 16u];
      let a2 = tile_a[word * 64u + local.y + 32u];
      let a3 = tile_a[word * 64u + local.y + 48u];
      let b0 = tile_b[word * 64u + local.x + 0u];
      let b1 = tile_b[word * 64u + local.x + 16u];
      let b2 = tile_b[word * 64u + local.x + 32u];
      let b3 = tile_b[word * 64u + local.x + 48u];
      s0_0 += dot_bytes(a0, b0);
      s0_1 += dot_bytes(a0, b1);
      s0_2 += dot_bytes(a0, b2);
      s0_3 += dot_bytes(a0, b3);
      s1_0 += dot_bytes(a1, b0);
      s1_1 += dot_bytes(a1, b1);
      s1_2 += dot_bytes(a1, b2);
      s1_3 += dot_bytes(a1, b3);
      s2_0 += dot_bytes(a2, b0);
      s2_1 += dot_bytes(a2, b1);
      s2_2 += dot_bytes(a2, b2);
      s2_3 += dot_bytes(a2, b3);
      s3_0 += dot_bytes(a3, b0);
      s3_1 += dot_bytes(a3, b1);
      s3_2 += dot_bytes(a3, b2);
      s3_3 += dot_bytes(a3, b3);
    }
    workgroupBarrier();
  }
  // One store in a loop, not one for each output: drivers inline it, and compile for seconds.
  var sums = array<i32, 16>(s0_0, s0_1, s0_2, s0_3, s1_0, s1_1, s1_2, s1_3, s2_0, s2_1, s2_2, s2_3, s3_0, s3_1, s3_2, s3_3);
  for (var i = 0u; i < 16u; i++) {
    store(row0 + local.y + 16u * (i / 4u), column0 + local.x + 16u * (i % 4u), sums[i]);
  }
}

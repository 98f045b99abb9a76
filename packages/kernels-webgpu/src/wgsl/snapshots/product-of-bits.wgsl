struct Parameters {
  m: u32,
  n: u32,
  k: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<i32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.n || id.y >= p.m) {
    return;
  }
  var sum = 0u;
  for (var w = 0u; w < p.words; w++) {
    let i = id.y * p.words + w;
    let j = id.x * p.words + w;
    sum += countOneBits(a[i] & b[j]);
  }
  c[id.y * p.n + id.x] = bitcast<i32>(sum);
}

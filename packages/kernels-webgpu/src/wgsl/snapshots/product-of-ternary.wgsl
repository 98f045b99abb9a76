struct Parameters {
  m: u32,
  n: u32,
  k: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> a: array<vec2u>;
@group(0) @binding(2) var<storage, read> b: array<vec2u>;
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
    let both = a[i].x & b[j].x;
    sum += countOneBits(both) - 2u * countOneBits(both & (a[i].y ^ b[j].y));
  }
  c[id.y * p.n + id.x] = bitcast<i32>(sum);
}

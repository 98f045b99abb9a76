struct Parameters {
  m: u32,
  n: u32,
  k: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> list: array<u32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + local;
  let row = i / p.n;
  let out = i % p.n;
  if (row >= p.m) {
    return;
  }
  var sum = 0.0;
  for (var j = 1u; j <= list[0]; j++) {
    let column = list[j];
    let word = codes[out * p.words + column / 4u];
    let code = bitcast<i32>(word << (24u - 8u * (column % 4u))) >> 24u;
    sum += x[row * p.k + column] * f32(code);
  }
  c[i] += sum * scales[out];
}

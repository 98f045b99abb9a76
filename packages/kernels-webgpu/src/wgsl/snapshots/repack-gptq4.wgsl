struct Parameters {
  n: u32,
  k: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> qweight: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + local;
  if (i >= p.n * (p.k / 8u)) {
    return;
  }
  let row = i / (p.k / 8u);
  let k0 = 8u * (i % (p.k / 8u));
  var word = 0u;
  for (var j = 0u; j < 8u; j++) {
    let bit = order[k0 + j] * 4u;
    var code = qweight[(bit / 32u) * p.n + row] >> (bit % 32u);
    word |= (code & 15u) << (4u * j);
  }
  codes[i] = word;
}

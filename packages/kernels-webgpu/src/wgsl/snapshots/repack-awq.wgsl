struct Parameters {
  n: u32,
  k: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> qweight: array<u32>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;

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
  let j = row % 8u;
  let shift = 4u * (j / 2u + 4u * (j % 2u));
  var word = 0u;
  for (var c = 0u; c < 8u; c++) {
    word |= ((qweight[(k0 + c) * (p.n / 8u) + row / 8u] >> shift) & 15u) << (4u * c);
  }
  codes[i] = word;
}

struct Parameters {
  blocks: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> blocks: array<u32>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + local;
  if (i >= p.blocks) {
    return;
  }
  let base = 34u * i;
  scales[i] = ((blocks[(base) / 4u] >> (8u * ((base) % 4u))) & 0xffffu) | 0x58000000u;
  for (var j = 0u; j < 8u; j++) {
    let first = (blocks[(base + 2u + 4u * j) / 4u] >> (8u * ((base + 2u + 4u * j) % 4u))) & 0xffffu;
    let second = (blocks[(base + 4u + 4u * j) / 4u] >> (8u * ((base + 4u + 4u * j) % 4u))) & 0xffffu;
    codes[8u * i + j] = (first | (second << 16u)) ^ 0x80808080u;
  }
}

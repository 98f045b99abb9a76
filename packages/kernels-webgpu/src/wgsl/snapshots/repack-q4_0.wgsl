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
  let base = 18u * i;
  scales[i] = ((blocks[(base) / 4u] >> (8u * ((base) % 4u))) & 0xffffu) | 0x48000000u;
  for (var half = 0u; half < 2u; half++) {
    var low = 0u;
    var high = 0u;
    for (var j = 0u; j < 4u; j++) {
      let two = (blocks[(base + 2u + 8u * half + 2u * j) / 4u] >> (8u * ((base + 2u + 8u * half + 2u * j) % 4u))) & 0xffffu;
      low |= ((two & 15u) | ((two >> 4u) & 0xf0u)) << (8u * j);
      high |= (((two >> 4u) & 15u) | ((two >> 8u) & 0xf0u)) << (8u * j);
    }
    codes[4u * i + half] = low;
    codes[4u * i + 2u + half] = high;
  }
}

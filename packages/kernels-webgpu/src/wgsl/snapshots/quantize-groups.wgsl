struct Parameters {
  rows: u32,
  columns: u32,
  words: u32,
  group_size: u32,
  groups: u32,
  largest: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + local;
  let row = i / p.words;
  if (row >= p.rows) {
    return;
  }
  var word = 0u;
  for (var j = 0u; j < 4u; j++) {
    let column = 4u * (i % p.words) + j;
    if (column < p.columns) {
      let pair = scales[row * p.groups + column / p.group_size];
      let code = clamp(round(x[row * p.columns + column] / pair.x + pair.y), 0.0, p.largest);
      word |= u32(code) << (8u * j);
    }
  }
  codes[i] = word;
}

struct Parameters {
  m: u32,
  k: u32,
  threshold: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> marks: array<u32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let column = (group.y * groups.x + group.x) * 64u + local;
  if (column >= p.k) {
    return;
  }
  var top = 0.0;
  for (var row = 0u; row < p.m; row++) {
    top = max(top, abs(x[row * p.k + column]));
  }
  marks[column] = select(0u, 1u, top >= p.threshold);
}

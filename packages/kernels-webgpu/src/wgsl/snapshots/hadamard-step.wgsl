struct Parameters {
  pairs: u32,
  half: u32,
  factor: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let pair = (group.y * groups.x + group.x) * 128u + local;
  if (pair < p.pairs) {
    let i = 2u * pair - pair % p.half;
    let a = x[i];
    let b = x[i + p.half];
    x[i] = (a + b) * p.factor;
    x[i + p.half] = (a - b) * p.factor;
  }
}

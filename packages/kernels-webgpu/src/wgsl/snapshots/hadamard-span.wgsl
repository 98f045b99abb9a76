struct Parameters {
  values: u32,
  factor: f32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

var<workgroup> tile: array<f32, 256>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let start = (group.y * groups.x + group.x) * 256u;
  for (var i = local; i < 256u; i += 128u) {
    if (start + i < p.values) {
      tile[i] = x[start + i];
    }
  }
  for (var half = 1u; half < 64u; half *= 2u) {
    workgroupBarrier();
    for (var pair = local; pair < 128u; pair += 128u) {
      let i = 2u * pair - pair % half;
      let a = tile[i];
      let b = tile[i + half];
      tile[i] = a + b;
      tile[i + half] = a - b;
    }
  }
  workgroupBarrier();
  for (var i = local; i < 256u; i += 128u) {
    if (start + i < p.values) {
      x[start + i] = tile[i] * p.factor;
    }
  }
}

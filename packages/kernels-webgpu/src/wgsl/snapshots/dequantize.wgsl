struct Parameters {
  n: u32,
  k: u32,
  row0: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;

struct Eight {
  low: vec4f,
  high: vec4f,
  factor: f32,
}

fn scale_b(row: u32, k: u32) -> vec2f {
  return unpack2x16float(scales[row * ((p.k + 127u) / 128u) + k / 128u]);
}

fn scaled_b(row: u32, k: u32, scale: vec2f) -> Eight {
  let word = codes[(row * p.k + k) / 8u];
  let low = vec4f(vec4u(word, word >> 4u, word >> 8u, word >> 12u) & vec4u(15u));
  let high = vec4f(vec4u(word >> 16u, word >> 20u, word >> 24u, word >> 28u) & vec4u(15u));
  return Eight(low - scale.y, high - scale.y, scale.x);
}

fn load_b(row: u32, k: u32) -> Eight {
  return scaled_b(row, k, scale_b(row, k));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let step = (group.y * groups.x + group.x) * 64u + local;
  let row = step / (p.k / 8u);
  if (row < p.n) {
    let w = load_b(p.row0 + row, 8u * (step % (p.k / 8u)));
    c[2u * step] = w.low * w.factor;
    c[2u * step + 1u] = w.high * w.factor;
  }
}

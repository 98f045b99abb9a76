struct Parameters {
  m: u32,
  k: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> marks: array<u32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> scales: array<f32>;

var<workgroup> largest: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.x * p.k;
  var own = 0.0;
  for (var column = local; column < p.k; column += 64u) {
    own = max(own, abs(select(x[row + column], 0.0, marks[column] != 0u)));
  }
  largest[local] = own;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      largest[local] = max(largest[local], largest[local + half]);
    }
  }
  workgroupBarrier();
  let top = largest[0];
  let scale = select(top / 127.0, 1.0, top == 0.0);
  for (var word = local; word < p.words; word += 64u) {
    var packed = 0u;
    for (var j = 0u; j < 4u; j++) {
      let column = 4u * word + j;
      if (column < p.k) {
        let code = i32(clamp(round(select(x[row + column], 0.0, marks[column] != 0u) / scale), -127.0, 127.0));
        packed |= (bitcast<u32>(code) & 255u) << (8u * j);
      }
    }
    codes[group.x * p.words + word] = packed;
  }
  if (local == 0u) {
    scales[group.x] = scale;
  }
}

struct Parameters {
  k: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> marks: array<u32>;
@group(0) @binding(2) var<storage, read_write> list: array<u32>;

var<workgroup> counts: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
  let run = (p.k + 63u) / 64u;
  let first = min(local * run, p.k);
  let last = min(first + run, p.k);
  var count = 0u;
  for (var column = first; column < last; column++) {
    count += marks[column];
  }
  counts[local] = count;
  workgroupBarrier();
  var at = 1u;
  for (var i = 0u; i < local; i++) {
    at += counts[i];
  }
  for (var column = first; column < last; column++) {
    if (marks[column] != 0u) {
      list[at] = column;
      at++;
    }
  }
  if (local == 63u) {
    list[0] = at - 1u;
  }
}

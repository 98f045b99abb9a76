struct Parameters {
  rows: u32,
  columns: u32,
  groups: u32,
  words: u32,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read> feedback: array<f32>;
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<vec2f>;
@group(0) @binding(5) var<storage, read> group_of: array<u32>;
@group(0) @binding(6) var<storage, read_write> codes: array<u32>;
@group(0) @binding(7) var<storage, read_write> differences: array<f32>;
@group(0) @binding(8) var<storage, read_write> loss: array<f32>;

struct Rounded {
  code: u32,
  value: f32,
}

fn round_to_grid(x: f32, zero: f32) -> Rounded {
  let q = clamp(round(x + zero), 0.0f, 15.0f);
  return Rounded(u32(i32(q) - 0i), q - zero);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + local;
  if (row >= p.rows) {
    return;
  }
  var row_loss = 0.0;
  for (var j0 = 0u; j0 < p.columns; j0 += 8u) {
    var sum0 = 0.0;
    var sum1 = 0.0;
    var sum2 = 0.0;
    var sum3 = 0.0;
    var sum4 = 0.0;
    var sum5 = 0.0;
    var sum6 = 0.0;
    var sum7 = 0.0;
    for (var i = 0u; i < j0; i++) {
      let d = differences[i * p.rows + row];
      let at = i * p.columns + j0;
      sum0 += d * factor[at + 0u];
      sum1 += d * factor[at + 1u];
      sum2 += d * factor[at + 2u];
      sum3 += d * factor[at + 3u];
      sum4 += d * factor[at + 4u];
      sum5 += d * factor[at + 5u];
      sum6 += d * factor[at + 6u];
      sum7 += d * factor[at + 7u];
    }
    var low = 0u;
    var high = 0u;
    if (j0 + 0u < p.columns) {
      let j = j0 + 0u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum0 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      low |= rounded.code << 0u;
      sum1 += d * factor[j * p.columns + j + 1u];
      sum2 += d * factor[j * p.columns + j + 2u];
      sum3 += d * factor[j * p.columns + j + 3u];
      sum4 += d * factor[j * p.columns + j + 4u];
      sum5 += d * factor[j * p.columns + j + 5u];
      sum6 += d * factor[j * p.columns + j + 6u];
      sum7 += d * factor[j * p.columns + j + 7u];
    }
    if (j0 + 1u < p.columns) {
      let j = j0 + 1u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum1 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      low |= rounded.code << 8u;
      sum2 += d * factor[j * p.columns + j + 1u];
      sum3 += d * factor[j * p.columns + j + 2u];
      sum4 += d * factor[j * p.columns + j + 3u];
      sum5 += d * factor[j * p.columns + j + 4u];
      sum6 += d * factor[j * p.columns + j + 5u];
      sum7 += d * factor[j * p.columns + j + 6u];
    }
    if (j0 + 2u < p.columns) {
      let j = j0 + 2u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum2 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      low |= rounded.code << 16u;
      sum3 += d * factor[j * p.columns + j + 1u];
      sum4 += d * factor[j * p.columns + j + 2u];
      sum5 += d * factor[j * p.columns + j + 3u];
      sum6 += d * factor[j * p.columns + j + 4u];
      sum7 += d * factor[j * p.columns + j + 5u];
    }
    if (j0 + 3u < p.columns) {
      let j = j0 + 3u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum3 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      low |= rounded.code << 24u;
      sum4 += d * factor[j * p.columns + j + 1u];
      sum5 += d * factor[j * p.columns + j + 2u];
      sum6 += d * factor[j * p.columns + j + 3u];
      sum7 += d * factor[j * p.columns + j + 4u];
    }
    if (j0 + 4u < p.columns) {
      let j = j0 + 4u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum4 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      high |= rounded.code << 0u;
      sum5 += d * factor[j * p.columns + j + 1u];
      sum6 += d * factor[j * p.columns + j + 2u];
      sum7 += d * factor[j * p.columns + j + 3u];
    }
    if (j0 + 5u < p.columns) {
      let j = j0 + 5u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum5 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      high |= rounded.code << 8u;
      sum6 += d * factor[j * p.columns + j + 1u];
      sum7 += d * factor[j * p.columns + j + 2u];
    }
    if (j0 + 6u < p.columns) {
      let j = j0 + 6u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum6 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      high |= rounded.code << 16u;
      sum7 += d * factor[j * p.columns + j + 1u];
    }
    if (j0 + 7u < p.columns) {
      let j = j0 + 7u;
      let at = row * p.columns + j;
      let pivot = factor[j * p.columns + j];
      let original = weight[at];
      let want = original + (sum7 + feedback[at]) / pivot;
      let scale = scales[row * p.groups + group_of[j]];
      let rounded = round_to_grid(want / scale.x, scale.y);
      let value = rounded.value * scale.x;
      let d = original - value;
      let error = (want - value) * pivot;
      row_loss += error * error;
      weight[at] = d;
      differences[j * p.rows + row] = d;
      high |= rounded.code << 24u;

    }
    codes[row * p.words + j0 / 4u] = low;
    codes[row * p.words + j0 / 4u + 1u] = high;
  }
  loss[row] = row_loss;
}

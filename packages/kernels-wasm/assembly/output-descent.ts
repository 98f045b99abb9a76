import { levelsOf } from './descent';
import { nearestLevel } from './gptq-sweep';
import { DEPTH, micro, turn } from './matmul';

// Coordinate descent on rounded rows whose outputs affect the loss together. Rows are in the panels of `descent.ts`, and
// so are the rows of G `[rows, rows]`, `[panel][rows padded to 4][8]`. D H of a block of columns is in quads of 4
// columns, `[quad][height][4]`, with height the number of rows padded to 8: `micro` takes a quad as its operand A.

/** Copies D H of a block, `[panel][stride][8]` of panels `[first, last)`, into quads. */
export function turnPanels(from: usize, stride: usize, height: usize, to: usize, first: usize, last: usize, worker: usize): void {
  for (let panel = first; panel < last; panel++) {
    for (let j: usize = 0; j < stride; j += 4) {
      const source = from + (panel * stride + j) * 32;
      const quad = to + (j / 4 * height + panel * 8) * 16;
      turn(source, 32, quad, 16);
      turn(source + 16, 32, quad + 64, 16);
    }
  }
}

/**
 * G times the quads `[first, last)`, for `panels` panels of rows from `panel`, into `gradient` `[panel][stride][8]`.
 * f32 sums over 256 rows; then these are summed.
 */
export function mixOutputs(outputs: usize, rows: usize, quads: usize, height: usize, stride: usize, gradient: usize, panel: usize, panels: usize, first: usize, last: usize, worker: usize): void {
  const padded = (rows + 3) & ~3;
  for (let p: usize = 0; p < rows; p += DEPTH) {
    const depth = min(DEPTH, rows - p);
    for (let own = panel; own < panel + panels; own++) {
      const moments = outputs + (own * padded + p) * 32;
      for (let quad = first; quad < last; quad++) {
        micro(quads + (quad * height + p) * 16, moments, gradient + (own * stride + quad * 4) * 32, 32, depth, 0, p > 0);
      }
    }
  }
}

/**
 * Adds G times the changes of the panels `[base, panel)` to the gradient of `panel`. The changes of D H are in quads
 * `[quad][tall][4]`, whose first row is that of panel `base`.
 */
export function mixChanges(outputs: usize, rows: usize, changes: usize, tall: usize, stride: usize, gradient: usize, base: usize, panel: usize): void {
  const padded = (rows + 3) & ~3;
  const moments = outputs + (panel * padded + base * 8) * 32;
  const depth = (panel - base) * 8;
  if (depth == 0) return;
  for (let j: usize = 0; j < stride; j += 4)
    micro(changes + j / 4 * tall * 16, moments, gradient + (panel * stride + j) * 32, 32, depth, 0, true);
}

/** Computes `u_k H u_i` of a panel into `to` `[8 k][8 i]`, from u and u H `[stride][8]`. */
export function rowProducts(units: usize, curvature: usize, stride: usize, to: usize): void {
  for (let k: usize = 0; k < 32; k += 4) {
    let p0 = f32x4.splat(0), p1 = p0;
    for (let at: usize = 0, stop = stride * 32; at < stop; at += 32) {
      const u = v128.load32_splat(units + at + k);
      p0 = f32x4.add(p0, f32x4.mul(u, v128.load(curvature + at)));
      p1 = f32x4.add(p1, f32x4.mul(u, v128.load(curvature + at, 16)));
    }
    v128.store(to + k * 8, p0);
    v128.store(to + k * 8, p1, 16);
  }
}

/**
 * One sweep of a panel over a block's columns `[start, end)`, column by column and row by row. `gradient` has G D H of
 * the panel. With `steps` `[8]` (or 0) the scales of the block have grown by these steps: `units` has u and `curvature`
 * u H. Writes new codes and differences. Adds the change of D H to the quads, and writes it to `changes` (`mixChanges`).
 */
export function descendOutputs(
  target: usize,
  difference: usize,
  matrix: usize,
  scales: usize,
  zeros: usize,
  groups: usize,
  group: usize,
  codes: usize,
  columns: usize,
  lowest: f32,
  highest: f32,
  levels: usize,
  levelValues: usize,
  levelCodes: usize,
  table: usize,
  start: usize,
  end: usize,
  outputs: usize,
  rows: usize,
  gradient: usize,
  units: usize,
  curvature: usize,
  mixed: usize,
  steps: usize,
  quads: usize,
  changes: usize,
  tall: usize,
  base: usize,
  panel: usize,
): void {
  const padded = (columns + 3) & ~3;
  const stride = (end - start + 3) & ~3;
  const bytes = stride * 32;
  const count = min(8, rows - panel * 8);
  const moments = outputs + (panel * ((rows + 3) & ~3) + panel * 8) * 32;
  gradient += panel * bytes;
  if (steps == 0) memory.fill(curvature, 0, bytes);
  else {
    const s0 = v128.load(steps), s1 = v128.load(steps, 16);
    let d = difference + (panel * padded + start) * 32;
    for (let at: usize = 0; at < bytes; at += 32) {
      if (at < (end - start) * 32) {
        v128.store(d, f32x4.sub(v128.load(d), f32x4.mul(s0, v128.load(units + at))));
        v128.store(d, f32x4.sub(v128.load(d, 16), f32x4.mul(s1, v128.load(units + at, 16))), 16);
      }
      d += 32;
      const own = curvature + at;
      v128.store(own, f32x4.neg(f32x4.mul(s0, v128.load(own))));
      v128.store(own, f32x4.neg(f32x4.mul(s1, v128.load(own, 16))), 16);
      let m0 = v128.load(gradient + at), m1 = v128.load(gradient + at, 16);
      for (let k: usize = 0; k < count; k++) {
        const x = v128.load32_splat(own + k * 4);
        m0 = f32x4.add(m0, f32x4.mul(x, v128.load(moments + k * 32)));
        m1 = f32x4.add(m1, f32x4.mul(x, v128.load(moments + k * 32, 16)));
      }
      v128.store(gradient + at, m0);
      v128.store(gradient + at, m1, 16);
    }
  }
  // From here on `units` has the changes of D, and `mixed` has G times them.
  memory.fill(units, 0, bytes);
  memory.fill(mixed, 0, bytes);
  const wanted = memory.data(32, 16);
  const factors = memory.data(32, 16);
  let any = steps != 0;
  for (let j = start; j < end; j += 4) {
    const width = min(4, end - j);
    const sums = gradient + (j - start) * 32;
    for (let p = start; p < j; p += DEPTH)
      micro(matrix + (j * padded + p * 4) * 4, mixed + (p - start) * 32, sums, 32, min(DEPTH, j - p), 0, true);
    for (let c: usize = 0; c < width; c++) {
      const at = (panel * padded + j + c) * 32;
      const own = (j + c - start) * 32;
      let s0 = v128.load(sums + c * 32), s1 = v128.load(sums + c * 32, 16);
      let h = matrix + (j * padded + j * 4 + c) * 4;
      for (let i: usize = 0; i < c; i++) {
        const x = v128.load32_splat(h);
        s0 = f32x4.add(s0, f32x4.mul(v128.load(mixed + (j + i - start) * 32), x));
        s1 = f32x4.add(s1, f32x4.mul(v128.load(mixed + (j + i - start) * 32, 16), x));
        h += 16;
      }
      const pivot = load<f32>(h);
      const g = (panel * groups + <usize>load<i32>(group + (j + c) * 4)) * 32;
      const q = codes + at / 4;
      fillFactors(scales + g, moments, pivot, count, factors);
      v128.store(wanted, f32x4.add(levelsOf(q, lowest, table), f32x4.mul(s0, v128.load(factors))));
      v128.store(wanted, f32x4.add(levelsOf(q + 4, lowest, table), f32x4.mul(s1, v128.load(factors, 16))), 16);
      for (let i: usize = 0; i < count; i++) {
        const factor = load<f32>(factors + i * 4);
        const value = load<f32>(wanted + i * 4) + load<f32>(mixed + own + i * 4) * pivot * factor;
        let level: f32, code: u32;
        if (levels == 0) {
          level = max(lowest, min(highest, nearest(value)));
          code = i32x4.extract_lane(i32x4.trunc_sat_f32x4_s(f32x4.splat(level - lowest)), 0);
        } else {
          const index = nearestLevel(value, levelValues, levels);
          level = load<f32>(levelValues + index * 4);
          code = load<u8>(levelCodes + index);
        }
        if (factor == 0 || code == <u32>load<u8>(q + i)) continue;
        any = true;
        store<u8>(q + i, <u8>code);
        const d = load<f32>(target + at + i * 4) - (level - load<f32>(zeros + g + i * 4)) * load<f32>(scales + g + i * 4);
        const change = d - load<f32>(difference + at + i * 4);
        store<f32>(difference + at + i * 4, d);
        store<f32>(units + own + i * 4, change);
        const x = f32x4.splat(change);
        v128.store(mixed + own, f32x4.add(v128.load(mixed + own), f32x4.mul(x, v128.load(moments + i * 32))));
        v128.store(mixed + own, f32x4.add(v128.load(mixed + own, 16), f32x4.mul(x, v128.load(moments + i * 32, 16))), 16);
      }
    }
  }
  const height = (rows + 7) & ~7;
  for (let j = start; j < end; j += 4) {
    const sums = curvature + (j - start) * 32;
    for (let p = start; any && p < end; p += DEPTH)
      micro(matrix + (j * padded + p * 4) * 4, units + (p - start) * 32, sums, 32, min(DEPTH, end - p), 0, true);
    const quad = (j - start) / 4;
    const to = changes + (quad * tall + (panel - base) * 8) * 16;
    turn(sums, 32, to, 16);
    turn(sums + 16, 32, to + 64, 16);
    const all = quads + (quad * height + panel * 8) * 16;
    for (let i: usize = 0; any && i < 128; i += 16) v128.store(all + i, f32x4.add(v128.load(all + i), v128.load(to + i)));
  }
}

/** `1 / (G_ii H_jj scale)` of the rows of a panel; 0 for a scale of 0 and for missing rows. */
// @ts-expect-error: decorator
@inline
function fillFactors(scales: usize, moments: usize, pivot: f32, count: usize, to: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const scale = load<f32>(scales + i * 4);
    store<f32>(to + i * 4, scale == 0 || i >= count ? 0 : 1 / (load<f32>(moments + i * 36) * pivot * scale));
  }
}

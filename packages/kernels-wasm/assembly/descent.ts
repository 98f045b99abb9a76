import { linear, nearest } from './gptq-sweep';
import { DEPTH, micro, packPanel4 } from './matmul';

// Coordinate descent on rounded rows, in the panels of the sweep: 8 rows `[panel][columns][8]`, columns padded to a
// multiple of 4. The matrix H is symmetric and is stored whole in panels of 4 columns, `[panel][padded][4]`. A block is
// the columns `[start, end)`, with start a multiple of 4. Its own arrays are `[panel][stride][8]`, with stride its
// width padded to a multiple of 4. Rows are independent.

/** Packs all rows of the panels `[first, last)` of 4 columns of `from` `[columns, columns]`. */
export function packSquare(from: usize, columns: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const column = panel * 4;
    packPanel4(from + column * 4, 1, columns, min(4, columns - column), columns, to + column * padded * 4);
  }
}

/** Packs the codes `[rows, columns]` of panels `[first, last)`; missing rows have code 0. */
export function packCodes(from: usize, rows: usize, columns: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const height = min(8, rows - panel * 8);
    memory.fill(to + panel * padded * 8, 0, padded * 8);
    for (let i: usize = 0; i < height; i++) {
      const row = from + (panel * 8 + i) * columns;
      const out = to + panel * padded * 8 + i;
      for (let j: usize = 0; j < columns; j++) store<u8>(out + j * 8, load<u8>(row + j));
    }
  }
}

/** Levels of the 4 codes at `at`: `lowest + code`, or those of a table `[256]` by code. */
// @ts-expect-error: decorator
@inline
export function levelsOf(at: usize, lowest: f32, table: usize): v128 {
  if (table == 0) {
    const codes = v128.load32_zero(at);
    const wide = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(codes));
    return f32x4.add(f32x4.convert_i32x4_s(wide), f32x4.splat(lowest));
  }
  let levels = f32x4.splat(load<f32>(table + <usize>load<u8>(at) * 4));
  levels = f32x4.replace_lane(levels, 1, load<f32>(table + <usize>load<u8>(at, 1) * 4));
  levels = f32x4.replace_lane(levels, 2, load<f32>(table + <usize>load<u8>(at, 2) * 4));
  return f32x4.replace_lane(levels, 3, load<f32>(table + <usize>load<u8>(at, 3) * 4));
}

/** D = T - (level - zero) scale of panels `[first, last)`; the padded columns are zero. */
export function differences(target: usize, codes: usize, scales: usize, zeros: usize, groups: usize, group: usize, columns: usize, lowest: f32, table: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    for (let j: usize = 0; j < columns; j++) {
      const at = (panel * padded + j) * 32;
      const g = (panel * groups + <usize>load<i32>(group + j * 4)) * 32;
      for (let half: usize = 0; half < 32; half += 16) {
        const unit = f32x4.sub(levelsOf(codes + at / 4 + half / 4, lowest, table), v128.load(zeros + g + half));
        v128.store(to + at + half, f32x4.sub(v128.load(target + at + half), f32x4.mul(unit, v128.load(scales + g + half))));
      }
    }
    memory.fill(to + (panel * padded + columns) * 32, 0, (padded - columns) * 32);
  }
}

/** D H of a block's columns: f32 sums over 256 columns; then these are summed. */
export function blockGradient(difference: usize, matrix: usize, columns: usize, start: usize, end: usize, gradient: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  const stride = (end - start + 3) & ~3;
  for (let p: usize = 0; p < columns; p += DEPTH) {
    const depth = min(DEPTH, columns - p);
    for (let j = start; j < end; j += 4) {
      for (let panel = first; panel < last; panel++) {
        micro(matrix + (j * padded + p * 4) * 4, difference + (panel * padded + p) * 32, gradient + (panel * stride + j - start) * 32, 32, depth, 0, p > 0);
      }
    }
  }
}

/**
 * Computes `u . (D H)` and `u H u` of each row into `sums` `[panel][2][8]`. u is level - zero of the block's codes, and
 * all codes are of group `g`. Keeps u in `units` and u H in `curvature`.
 */
export function scaleSteps(codes: usize, zeros: usize, groups: usize, g: usize, matrix: usize, columns: usize, start: usize, end: usize, lowest: f32, table: usize, gradient: usize, units: usize, curvature: usize, sums: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  const stride = (end - start + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const own = units + panel * stride * 32;
    const zero = zeros + (panel * groups + g) * 32;
    for (let j = start; j < end; j++) {
      const from = codes + (panel * padded + j) * 8;
      v128.store(own + (j - start) * 32, f32x4.sub(levelsOf(from, lowest, table), v128.load(zero)));
      v128.store(own + (j - start) * 32, f32x4.sub(levelsOf(from + 4, lowest, table), v128.load(zero, 16)), 16);
    }
    memory.fill(own + (end - start) * 32, 0, (stride - (end - start)) * 32);
  }
  for (let p: usize = 0; p < end - start; p += DEPTH) {
    const depth = min(DEPTH, end - start - p);
    for (let j = start; j < end; j += 4) {
      for (let panel = first; panel < last; panel++) {
        const own = panel * stride * 32;
        micro(matrix + (j * padded + (start + p) * 4) * 4, units + own + p * 32, curvature + own + (j - start) * 32, 32, depth, 0, p > 0);
      }
    }
  }
  for (let panel = first; panel < last; panel++) {
    let n0 = f32x4.splat(0), n1 = n0, d0 = n0, d1 = n0;
    for (let at = panel * stride * 32, stop = at + (end - start) * 32; at < stop; at += 32) {
      const u0 = v128.load(units + at), u1 = v128.load(units + at, 16);
      n0 = f32x4.add(n0, f32x4.mul(u0, v128.load(gradient + at)));
      n1 = f32x4.add(n1, f32x4.mul(u1, v128.load(gradient + at, 16)));
      d0 = f32x4.add(d0, f32x4.mul(u0, v128.load(curvature + at)));
      d1 = f32x4.add(d1, f32x4.mul(u1, v128.load(curvature + at, 16)));
    }
    const to = sums + panel * 64;
    v128.store(to, n0);
    v128.store(to, n1, 16);
    v128.store(to, d0, 32);
    v128.store(to, d1, 48);
  }
}

/**
 * One sweep over a block's columns. Column j gets the grid point nearest to `t_j + (D H)_j / H_jj`, without its own
 * contribution. With `steps` `[panel][8]` (or 0) the scale of the block, whose columns are all of one group, has grown
 * by these steps: `units` and `curvature` are those of {@link scaleSteps}. Writes new codes and differences, and the
 * changes of the differences to `units`.
 */
export function descendPanels(
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
  start: usize,
  end: usize,
  gradient: usize,
  units: usize,
  curvature: usize,
  steps: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const padded = (columns + 3) & ~3;
  const stride = (end - start + 3) & ~3;
  if (steps != 0) {
    for (let panel = first; panel < last; panel++) {
      const s0 = v128.load(steps + panel * 32), s1 = v128.load(steps + panel * 32, 16);
      let d = difference + (panel * padded + start) * 32;
      for (let at = panel * stride * 32, stop = at + (end - start) * 32; at < stop; at += 32) {
        v128.store(d, f32x4.sub(v128.load(d), f32x4.mul(s0, v128.load(units + at))));
        v128.store(d, f32x4.sub(v128.load(d, 16), f32x4.mul(s1, v128.load(units + at, 16))), 16);
        const to = gradient + at;
        v128.store(to, f32x4.sub(v128.load(to), f32x4.mul(s0, v128.load(curvature + at))));
        v128.store(to, f32x4.sub(v128.load(to, 16), f32x4.mul(s1, v128.load(curvature + at, 16))), 16);
        d += 32;
      }
    }
  }
  const none = f32x4.splat(0);
  for (let j = start; j < end; j += 4) {
    const width = min(4, end - j);
    for (let panel = first; panel < last; panel++) {
      const changes = units + panel * stride * 32;
      const sums = gradient + (panel * stride + j - start) * 32;
      for (let p = start; p < j; p += DEPTH)
        micro(matrix + (j * padded + p * 4) * 4, changes + (p - start) * 32, sums, 32, min(DEPTH, j - p), 0, true);
      for (let c: usize = 0; c < width; c++) {
        const at = (panel * padded + j + c) * 32;
        const own = changes + (j + c - start) * 32;
        let s0 = v128.load(sums + c * 32), s1 = v128.load(sums + c * 32, 16);
        let h = matrix + (j * padded + j * 4 + c) * 4;
        for (let i: usize = 0; i < c; i++) {
          const x = v128.load32_splat(h);
          s0 = f32x4.add(s0, f32x4.mul(v128.load(changes + (j + i - start) * 32), x));
          s1 = f32x4.add(s1, f32x4.mul(v128.load(changes + (j + i - start) * 32, 16), x));
          h += 16;
        }
        const pivot = v128.load32_splat(h);
        const old0 = v128.load(difference + at), old1 = v128.load(difference + at, 16);
        s0 = f32x4.sub(s0, f32x4.mul(old0, pivot));
        s1 = f32x4.sub(s1, f32x4.mul(old1, pivot));
        const g = (panel * groups + <usize>load<i32>(group + (j + c) * 4)) * 32;
        const q = codes + at / 4;
        if (levels == 0) {
          linear(target + at, s0, pivot, scales + g, zeros + g, q, difference + at, lowest, highest, none);
          linear(target + at + 16, s1, pivot, scales + g + 16, zeros + g + 16, q + 4, difference + at + 16, lowest, highest, none);
        } else {
          nearest(target + at, s0, pivot, scales + g, q, difference + at, levels, levelValues, levelCodes, none);
          nearest(target + at + 16, s1, pivot, scales + g + 16, q + 4, difference + at + 16, levels, levelValues, levelCodes, none);
        }
        v128.store(own, f32x4.sub(v128.load(difference + at), old0));
        v128.store(own, f32x4.sub(v128.load(difference + at, 16), old1), 16);
      }
    }
  }
}

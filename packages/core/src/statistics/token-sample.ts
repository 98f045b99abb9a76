/**
 * Every `stride`-th token, at most `limit` of them. When there are more, every other one is removed and the stride
 * doubles. No random numbers: the same tokens in the same order give the same sample for any batches.
 */
export interface TokenSample {
  /** Tokens kept. */
  readonly tokens: number;
  readonly stride: number;
  /** @param parts row-major, each `[tokens, its own width]`; the same number and widths at each call */
  add(parts: readonly Float32Array[], tokens: number): void;
  /** Adds the tokens of another sample: at most `limit` of both remain, evenly spaced. */
  merge(other: TokenSample): void;
  /** The kept tokens, part by part, `[tokens, width]`. */
  columns(): Float32Array[];
  /** Restores a sample from `columns`, its stride, and the number of tokens `seen`. */
  restore(parts: readonly Float32Array[], tokens: number, stride: number, seen: number): void;
}

/** @param parts number of vectors of a token */
export function createTokenSample(limit: number, parts: number): TokenSample {
  let rows: Float32Array[][] = [];
  let [stride, seen] = [1, 0];
  const thin = () => {
    while (rows.length > limit) {
      rows = rows.filter((_, index) => index % 2 === 0);
      stride *= 2;
    }
  };
  const push = (values: readonly Float32Array[], tokens: number, token: number) =>
    rows.push(values.map((all) => all.slice((token * all.length) / tokens, ((token + 1) * all.length) / tokens)));
  return {
    get tokens() {
      return rows.length;
    },
    get stride() {
      return stride;
    },
    add(values, tokens) {
      for (let token = 0; token < tokens; token++, seen++) {
        if (seen % stride !== 0) continue;
        push(values, tokens, token);
        thin();
      }
    },
    merge(other) {
      const values = other.columns();
      for (let token = 0; token < other.tokens; token++) push(values, other.tokens, token);
      thin();
    },
    columns: () =>
      Array.from({ length: parts }, (_, part) => {
        const width = rows[0]?.[part].length ?? 0;
        const out = new Float32Array(rows.length * width);
        for (const [token, row] of rows.entries()) out.set(row[part], token * width);
        return out;
      }),
    restore(values, tokens, ownStride, all) {
      rows = [];
      for (let token = 0; token < tokens; token++) push(values, tokens, token);
      [stride, seen] = [ownStride, all];
    },
  };
}

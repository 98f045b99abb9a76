/** Two texts, and the similarity that people gave them. */
export interface ScoredPair {
  readonly first: string;
  readonly second: string;
  readonly score: number;
}

/**
 * The pairs of a file that has only pairs: lines of two texts and a number with tabs between them, or, in `.jsonl`,
 * objects with `sentence1`, `sentence2` and `score`. Undefined for another file.
 */
export function scoredPairs(path: string, bytes: Uint8Array): readonly ScoredPair[] | undefined {
  const lines = new TextDecoder()
    .decode(bytes)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '');
  const pairs = lines.map(path.endsWith('.jsonl') ? fromJson : fromTabs);
  return pairs.length > 0 && pairs.every((pair) => pair !== undefined) ? pairs : undefined;
}

function fromTabs(line: string): ScoredPair | undefined {
  const [first, second, last, ...more] = line.split('\t');
  const score = last === undefined || last.trim() === '' ? Number.NaN : Number(last);
  return first && second && Number.isFinite(score) && more.length === 0 ? { first, second, score } : undefined;
}

function fromJson(line: string): ScoredPair | undefined {
  try {
    const { sentence1: first, sentence2: second, score } = JSON.parse(line);
    return typeof first === 'string' && typeof second === 'string' && typeof score === 'number'
      ? { first, second, score }
      : undefined;
  } catch {
    return undefined;
  }
}

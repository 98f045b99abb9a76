/**
 * Lengths of probes: exponential expressions show themselves at the first ones, cubic ones at the last. One character more takes
 * `(.*.*)*X` seven times as long.
 */
const lengths = [...Array.from({ length: 24 }, (_, i) => i + 1), 28, 32, 64, 128, 256, 512, 1024];
/** An expression that takes this long for at most 1,024 characters takes minutes for a page of text. */
const limitMilliseconds = 30;
/** A busy machine makes single measurements too long. */
const measurements = 3;
/** Characters of the expression itself that are tried in addition to {@link usualTexts}. */
const mostOwn = 8;
const usualTexts = ['a', 'A', '0', ' ', '\n', '.', 'é', '中', 'a ', 'a.'];

/**
 * Whether an expression of a tokenizer backtracks so much that a short text takes minutes. JavaScript's expressions cannot be stopped, and an
 * engine without backtracking has no lookahead, which most tokenizers need. So the expression runs over growing probes of one repeated
 * text, and the first one that takes 30 ms ends the trial.
 * @param pattern as in tokenizer.json; one that is no JavaScript expression is not tried
 */
export function backtracksTooMuch(pattern: string): boolean {
  let expression: RegExp;
  try {
    expression = new RegExp(pattern.replaceAll('(?i:', '(?:'), 'gu');
  } catch {
    return false;
  }
  const own = [...new Set(pattern.replace(/\\./gu, '').replace(/[^\p{L}\p{N}]/gu, ''))].slice(0, mostOwn);
  const texts = new Set([...usualTexts, ...own]);
  for (const length of lengths)
    for (const text of texts)
      for (const end of ['', '\u0001']) {
        const probe = text.repeat(length).slice(0, length) + end;
        let least = Number.POSITIVE_INFINITY;
        for (let i = 0; i < measurements && least > limitMilliseconds; i++) {
          const started = performance.now();
          probe.replace(expression, '');
          least = Math.min(least, performance.now() - started);
          if (i === 0 && least <= limitMilliseconds) break;
        }
        if (least > limitMilliseconds) return true;
      }
  return false;
}

/**
 * Whether a name matches a pattern in which `*` stands for zero or more characters. The first match of each part is
 * taken, which is always correct. So there is no backtracking, and the time is at most proportional to the length of
 * the pattern times that of the name.
 */
export const matchesWildcard = (pattern: string, name: string): boolean => wildcard(pattern)(name);

/** The same for many names; the pattern is parsed once. */
export function wildcard(pattern: string): (name: string) => boolean {
  if (/^\*+$/.test(pattern)) return () => true;
  const parts = pattern.split('*');
  return parts.length === 1 ? (name) => pattern === name : (name) => fits(parts, name);
}

function fits(parts: readonly string[], name: string): boolean {
  const [first] = parts;
  const last = parts[parts.length - 1];
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  const end = name.length - last.length;
  let at = first.length;
  for (let index = 1; index < parts.length - 1; index++) {
    const part = parts[index];
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

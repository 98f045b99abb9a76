/**
 * Whether a name fits a pattern in which `*` stands for any characters, none among them. The first place for each part is the
 * right one, so that the time is at most that of pattern times name, whatever the pattern: there is no backtracking.
 */
export function matchesWildcard(pattern: string, name: string): boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return pattern === name;
  const [first] = parts;
  const last = parts[parts.length - 1];
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  const end = name.length - last.length;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

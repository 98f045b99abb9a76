import type { Random } from '@q/core';

const pick = <V>(random: Random, values: readonly V[]): V => values[random.integer(values.length)];

/** Numbers at the limits of parsers. */
const edges: readonly number[] = [
  0,
  1,
  2,
  7,
  8,
  31,
  32,
  127,
  128,
  255,
  256,
  65535,
  65536,
  2 ** 30,
  2 ** 31,
  2 ** 32 - 1,
];
const oddNumbers: readonly number[] = [...edges, -1, 0.5, 1e9, 1e308, -0, 2 ** 53];
const oddTexts: readonly string[] = [
  '',
  'constructor',
  '__proto__',
  'toString',
  '\u001b[2J',
  '../x',
  '(a+)+$',
  '*',
  '\ud800',
  'x'.repeat(5000),
];

/** Changes one to four positions of some bytes: single bytes, 4 and 8 byte numbers, cuts, repetitions. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let out = bytes.slice();
  for (let left = 1 + random.integer(4); left > 0 && out.length > 0; left--) {
    const at = random.integer(out.length);
    const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
    const kind = random.integer(7);
    if (kind === 0) out[at] ^= 1 << random.integer(8);
    else if (kind === 1) out[at] = random.integer(256);
    else if (kind === 2 && at + 4 <= out.length) view.setUint32(at, pick(random, edges), true);
    else if (kind === 3 && at + 8 <= out.length)
      view.setBigUint64(at, BigInt(pick(random, edges)) << BigInt(pick(random, [0, 0, 31, 32])), true);
    else if (kind === 4) out = out.slice(0, at);
    else {
      const end = Math.min(out.length, at + 1 + random.integer(16));
      // Bytes [at, end) are repeated or removed.
      const [first, rest] =
        kind === 5 ? [out.subarray(0, end), out.subarray(at)] : [out.subarray(0, at), out.subarray(end)];
      out = new Uint8Array(first.length + rest.length);
      out.set(first);
      out.set(rest, first.length);
    }
  }
  return out;
}

function oddValue(random: Random): unknown {
  switch (random.integer(8)) {
    case 0:
      return null;
    case 1:
      return random.integer(2) === 1;
    case 2:
      return pick(random, oddTexts);
    case 3:
      return [];
    case 4:
      return {};
    case 5:
      return [pick(random, oddNumbers), pick(random, oddTexts)];
    default:
      return pick(random, oddNumbers);
  }
}

interface Place {
  readonly holder: Record<string, unknown>;
  readonly key: string;
}

function places(value: unknown, found: Place[] = []): Place[] {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push({ holder: value as Record<string, unknown>, key });
    places((value as Record<string, unknown>)[key], found);
  }
  return found;
}

/** Changes one to three members of a JSON value, at any depth: other values, removed ones, new ones, nesting. */
export function mutateJson<V>(value: V, random: Random): V {
  const copy = structuredClone(value);
  for (let left = 1 + random.integer(3); left > 0; left--) {
    const all = places(copy);
    if (all.length === 0) break;
    const { holder, key } = pick(random, all);
    const kind = random.integer(10);
    if (kind < 6) holder[key] = oddValue(random);
    else if (kind === 6) delete holder[key];
    else if (kind === 7 && !Array.isArray(holder))
      Object.defineProperty(holder, pick(random, oddTexts), {
        value: oddValue(random),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else if (kind === 8) {
      const other = pick(random, all);
      holder[key] = structuredClone(other.holder[other.key]);
    } else {
      let nested: unknown = holder[key];
      for (let depth = pick(random, [1, 2, 20, 100]); depth > 0; depth--) nested = [nested];
      holder[key] = nested;
    }
  }
  return copy;
}

/** JSON text with changes in its structure; one case in four also has changed characters. */
export function mutateJsonText(value: unknown, random: Random): string {
  const text = JSON.stringify(mutateJson(value, random)) ?? '';
  if (random.integer(4) > 0) return text;
  return new TextDecoder().decode(mutateBytes(new TextEncoder().encode(text), random));
}

/** Text in which one to four tokens are inserted, doubled or cut; one case in three also has changed characters. */
export function mutateText(text: string, tokens: readonly string[], random: Random): string {
  let out = text;
  for (let left = 1 + random.integer(4); left > 0; left--) {
    const at = random.integer(out.length + 1);
    const end = Math.min(out.length, at + random.integer(12));
    const kind = random.integer(4);
    if (kind < 2) out = `${out.slice(0, at)}${pick(random, tokens)}${out.slice(kind === 0 ? at : end)}`;
    else if (kind === 2) out = `${out.slice(0, end)}${out.slice(at)}`;
    else
      out = `${out.slice(0, at)}${pick(random, tokens).repeat(random.integer(50) === 0 ? 300 : pick(random, [1, 2, 8]))}${out.slice(at)}`;
  }
  if (random.integer(3) > 0) return out;
  return new TextDecoder().decode(mutateBytes(new TextEncoder().encode(out), random));
}

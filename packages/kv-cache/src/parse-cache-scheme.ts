import { SchemeError } from '@q/core';
import { type CacheScheme, type CacheSide, cacheScheme } from './cache-scheme.js';

/** The parts that may follow the name of a scheme, for messages. */
const known = 'rotate, window=N, sinks=N, keys=N and values=N (elements that share a scale, or head)';

/**
 * The scheme of a text: a name, then the changes to it, as in `kivi2,rotate,window=64` or `kivi4,keys=128,values=head`.
 * @throws SchemeError naming the unknown part
 */
export function parseCacheScheme(text: string): CacheScheme {
  const [name, ...parts] = text.split(',').map((part) => part.trim());
  let scheme = cacheScheme(name);
  for (const part of parts) scheme = { ...scheme, ...change(part, scheme, text) };
  return parts.length === 0 ? scheme : { ...scheme, name: [name, ...parts].join(',') };
}

function change(part: string, scheme: CacheScheme, text: string): Partial<CacheScheme> {
  const [key, value] = part.split('=');
  const count = value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
  if (key === 'rotate' && value === undefined) return { rotate: true };
  if ((key === 'window' || key === 'sinks') && count !== undefined) return { [key]: count };
  if (key === 'keys' || key === 'values') {
    const side: CacheSide = scheme[key];
    if (value === 'head' && side.along === 'channels') return { [key]: { ...side, size: 'head' } };
    if (count) return { [key]: { ...side, size: count } };
  }
  throw new SchemeError(`cache scheme ${text}: ${JSON.stringify(part)} is not known after a name; ${known} are`);
}

import type { Random } from './contracts/context.js';

/** FNV-1a over UTF-16 units: spreads labels and seeds over 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** splitmix32: fills the state of the generator from one word. */
function splitmix(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

/**
 * A seeded generator (xoshiro128**, Blackman and Vigna 2018). The same seed gives the same numbers on every machine.
 * `fork(label)` depends on the seed and the label, and not on earlier draws.
 */
export function createRandom(seed: number | string): Random {
  const root = `${seed}`;
  const next = splitmix(hash(root));
  let [a, b, c, d] = [next(), next(), next(), next()];
  let spare: number | undefined;

  const word = () => {
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  const uniform = () => (word() >>> 5) * 2 ** -27 + (word() >>> 6) * 2 ** -53;

  return {
    uniform,
    /** Box-Muller, both values used. */
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
    integer: (n) => Math.floor(uniform() * n),
    fork: (label) => createRandom(`${root}/${label}`),
  };
}

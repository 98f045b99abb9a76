/**
 * The field of `order = p^degree` elements, with the operations that Paley's matrices need: differences and squares.
 */
export interface FiniteField {
  readonly order: number;
  /** Elements are numbers below `order`: coefficients of a polynomial over the integers mod p, in base p. */
  subtract(a: number, b: number): number;
  /** 0 for 0, 1 for the square of another element, -1 for an element that is no square. */
  character(a: number): -1 | 0 | 1;
}

/** p and the exponent when `n` is a power of a prime, undefined otherwise. */
export function primePower(n: number): { prime: number; degree: number } | undefined {
  if (!Number.isInteger(n) || n < 2) return undefined;
  let prime = 2;
  while (n % prime !== 0) prime = prime * prime > n ? n : prime + 1;
  let degree = 0;
  for (let rest = n; rest > 1; rest /= prime, degree++) if (rest % prime !== 0) return undefined;
  return { prime, degree };
}

/**
 * Polynomials over the integers mod p, modulo an irreducible one of the field's degree.
 * @param order a power of an odd prime; undefined for every other number
 */
export function finiteField(order: number): FiniteField | undefined {
  const power = primePower(order);
  if (!power || power.prime === 2) return undefined;
  const { prime, degree } = power;
  const digits = Array.from({ length: order }, (_, a) => baseDigits(a, prime, degree));
  const number = (coefficients: readonly number[]) => coefficients.reduceRight((sum, c) => sum * prime + c, 0);
  const modulus = irreducible(prime, degree);
  const squares = new Set<number>();
  for (let a = 1; a < order; a++) {
    squares.add(number(remainder(multiply(digits[a], digits[a], prime), modulus, prime)));
  }
  return {
    order,
    subtract(a, b) {
      let difference = 0;
      for (let i = degree - 1; i >= 0; i--)
        difference = difference * prime + ((digits[a][i] - digits[b][i] + prime) % prime);
      return difference;
    },
    character: (a) => (a === 0 ? 0 : squares.has(a) ? 1 : -1),
  };
}

/**
 * The first monic polynomial of this degree that is not divisible by any monic polynomial of up to half its degree;
 * lowest coefficient first.
 */
function irreducible(prime: number, degree: number): readonly number[] {
  for (let low = 0; low < prime ** degree; low++) {
    const candidate = monic(low, prime, degree);
    if (!hasDivisor(candidate, prime)) return candidate;
  }
  throw new Error(`no irreducible polynomial of degree ${degree} over the integers mod ${prime}`);
}

function hasDivisor(polynomial: readonly number[], prime: number): boolean {
  const degree = polynomial.length - 1;
  for (let divisorDegree = 1; 2 * divisorDegree <= degree; divisorDegree++) {
    for (let low = 0; low < prime ** divisorDegree; low++) {
      const rest = remainder([...polynomial], monic(low, prime, divisorDegree), prime);
      if (rest.every((coefficient) => coefficient === 0)) return true;
    }
  }
  return false;
}

function monic(low: number, prime: number, degree: number): number[] {
  return [...baseDigits(low, prime, degree), 1];
}

function baseDigits(a: number, prime: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(a / prime ** i) % prime);
}

function multiply(a: readonly number[], b: readonly number[], prime: number): number[] {
  const product = new Array<number>(a.length + b.length - 1).fill(0);
  for (const [i, x] of a.entries()) for (const [j, y] of b.entries()) product[i + j] = (product[i + j] + x * y) % prime;
  return product;
}

/** Remainder on division by a monic polynomial; `dividend` is overwritten. */
function remainder(dividend: number[], divisor: readonly number[], prime: number): number[] {
  const degree = divisor.length - 1;
  for (let top = dividend.length - 1; top >= degree; top--) {
    const factor = dividend[top];
    for (let i = 0; i <= degree; i++) {
      const at = top - degree + i;
      dividend[at] = (dividend[at] + (prime - factor) * divisor[i]) % prime;
    }
  }
  return dividend.slice(0, degree);
}

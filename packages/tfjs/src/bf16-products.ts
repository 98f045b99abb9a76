import { readFileSync } from 'node:fs';
import { SchemeError } from '@q/core';

/**
 * oneDNN, the library of TensorFlow's products, reads this variable at the first product of a process. `BF16` and `ANY`
 * allow operands in bf16 (8 significant bits) with sums in f32.
 */
const variable = 'ONEDNN_DEFAULT_FPMATH_MODE';

/** The precision of the products of this process, once an engine has started. */
let bf16OfProcess: boolean | undefined;

/** The reason why this processor has no fast products of bf16; undefined if it has them. */
export function bf16Absence(): string | undefined {
  let flags = '';
  try {
    flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  } catch {
    return 'only Linux tells whether the processor has products of bf16 (/proc/cpuinfo)';
  }
  return /\b(amx_bf16|avx512_bf16)\b/.test(flags)
    ? undefined
    : 'the processor has no products of bf16 (neither amx_bf16 nor avx512_bf16 in /proc/cpuinfo): take node';
}

/**
 * Sets the precision of TensorFlow's products before they start. Without a wish for bf16, what the user has set counts.
 * @param wanted whether operands shall be rounded to bf16
 * @returns whether products round their operands to bf16
 * @throws SchemeError when products of this process have the other precision
 */
export function usesBf16Products(wanted: boolean): boolean {
  if (wanted && bf16OfProcess === undefined) process.env[variable] = 'BF16';
  bf16OfProcess ??= ['BF16', 'ANY'].includes((process.env[variable] ?? '').toUpperCase());
  if (wanted && !bf16OfProcess)
    throw new SchemeError('an engine of this process has started with products in f32: start another process');
  return bf16OfProcess;
}

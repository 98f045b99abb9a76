import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

vi.mock('node:fs', () => ({ readFileSync: vi.fn() }));

/** The module as a new process loads it. */
const load = () => {
  vi.resetModules();
  return import('./bf16-products.js');
};

describe('whether the processor multiplies bf16', () => {
  it.each(['amx_bf16', 'avx512_bf16'])('it does with %s', async (flag) => {
    vi.mocked(readFileSync).mockReturnValue(`processor\t: 0\nflags\t\t: fpu avx512f ${flag} sse2\nbugs\t\t: mds\n`);
    expect((await load()).bf16Absence()).toBeUndefined();
  });

  it('it does not without both, and where nothing names them', async () => {
    vi.mocked(readFileSync).mockReturnValue('flags\t\t: fpu avx512f avx512_vnni\nbugs\t\t: amx_bf16\n');
    expect((await load()).bf16Absence()).toMatch(/neither amx_bf16 nor avx512_bf16/);
    vi.mocked(readFileSync).mockImplementation(() => {
      throw new Error('ENOENT');
    });
    expect((await load()).bf16Absence()).toMatch(/only Linux tells/);
  });
});

describe('the precision of the products of a process', () => {
  const variable = 'ONEDNN_DEFAULT_FPMATH_MODE';
  beforeEach(() => vi.stubEnv(variable, undefined));
  afterEach(() => vi.unstubAllEnvs());

  it('is that of the first engine: f32 refuses bf16 afterwards', async () => {
    const { usesBf16Products } = await load();
    expect(usesBf16Products(false)).toBe(false);
    expect(process.env[variable]).toBeUndefined();
    expect(() => usesBf16Products(true)).toThrow(expect.objectContaining({ name: 'SchemeError' }));
    expect(() => usesBf16Products(true)).toThrow(/has started with products in f32: start another process/);
  });

  it('is bf16 on request, whatever the variable was, and says so to later engines', async () => {
    vi.stubEnv(variable, 'STRICT');
    const { usesBf16Products } = await load();
    expect(usesBf16Products(true)).toBe(true);
    expect(process.env[variable]).toBe('BF16');
    expect(usesBf16Products(false)).toBe(true);
  });

  it('is named when the user has set the variable', async () => {
    vi.stubEnv(variable, 'any');
    const { usesBf16Products } = await load();
    expect(usesBf16Products(false)).toBe(true);
    expect(process.env[variable]).toBe('any');
  });
});

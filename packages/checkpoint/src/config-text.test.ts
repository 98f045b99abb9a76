import { describe, expect, it } from 'vitest';
import { configText } from './config-text.js';

describe('configText', () => {
  it('writes whole numbers of the named keys with a fraction part, at any depth, and nothing else so', () => {
    const config = {
      a: 6,
      quantization_config: { llm_int8_threshold: 6, b: 6, c: ['6'], d: { llm_int8_threshold: 0 } },
    };
    const text = configText(config, ['llm_int8_threshold']);
    expect(text.match(/"llm_int8_threshold": [0-9.]+/g)).toEqual([
      '"llm_int8_threshold": 6.0',
      '"llm_int8_threshold": 0.0',
    ]);
    expect(text).toContain('"a": 6,');
    expect(JSON.parse(text)).toEqual(config);
  });

  it('leaves fractions and other types as JSON has them', () => {
    const config = { threshold: 5.5, other: null, name: '6' };
    expect(configText(config, ['threshold', 'other', 'name'])).toBe(`${JSON.stringify(config, null, 2)}\n`);
    expect(configText(config)).toBe(`${JSON.stringify(config, null, 2)}\n`);
  });
});

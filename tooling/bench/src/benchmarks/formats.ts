import { createRandom, packWords32, perGroup, quantize, scheme, signedIntegers, tensor } from '@q/core';
import type { Benchmark } from '../benchmark.js';

const elements = 2 ** 20;

export const benchmark: Benchmark = {
  description: 'quantize and pack beside a plain copy, in elements/s',
  *comparisons() {
    const random = createRandom(1);
    const values = Float32Array.from({ length: elements }, () => random.normal());
    const copy = new Float32Array(elements);
    const weight = tensor('f32', [1024, 1024], values);
    const int4 = scheme({ format: signedIntegers[2], granularity: perGroup(128) });
    yield {
      title: `quantize ${elements} f32`,
      work: elements,
      unit: 'elements',
      contenders: [
        { name: 'copy', run: () => copy.set(values) },
        { name: 'int4 g128, range', run: () => quantize(weight, int4) },
      ],
    };
    const codes = quantize(weight, int4).codes as Uint8Array;
    const target = new Uint8Array(elements);
    const words = new Uint32Array(elements / 8);
    yield {
      title: `pack ${elements} codes`,
      work: elements,
      unit: 'elements',
      contenders: [
        { name: 'copy', run: () => target.set(codes) },
        { name: '4 bits', run: () => packWords32(codes, 4, words) },
      ],
    };
  },
};

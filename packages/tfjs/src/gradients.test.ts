import { gradientConformance } from '@q/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TfjsEngine } from './engine.js';
import { createEngine } from './node-engine.js';
import { testedBackends } from './testing/backends.js';

describe.each(testedBackends)('gradients on %s', (backend) => {
  let engine: TfjsEngine;
  beforeAll(async () => {
    engine = await createEngine({ backend });
  });
  afterAll(() => engine.dispose());

  for (const { name, run } of gradientConformance) it(name, () => run(engine.ops));

  it('hold nothing when they are disposed of', () => {
    const { run } = gradientConformance.find(({ name }) => name === 'linear with bias')!;
    const before = engine.memory().tensors;
    run(engine.ops);
    expect(engine.memory().tensors).toBe(before);
  });
});

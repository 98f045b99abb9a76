import type { Architecture } from '@q/core';
import { type Check, expectThat } from './conformance-case.js';

/**
 * The checks of an architecture: its description must be consistent. The test of each architecture compares the forward
 * pass with the logits of another implementation.
 * @param config a config.json of the architecture
 */
export function architectureConformance(config: Readonly<Record<string, unknown>>): readonly Check<Architecture>[] {
  return [
    {
      name: 'every linear, tensor and edge is one of the model',
      run(architecture) {
        const { blocks, expected } = architecture.describe(config);
        const seen = new Set<string>();
        for (const block of blocks) {
          const own = new Set(block.linears.map(({ module }) => module));
          for (const { module, inFeatures, outFeatures } of block.linears) {
            expectThat(!seen.has(module), () => `${module} is there twice`);
            seen.add(module);
            expectThat(inFeatures > 0 && outFeatures > 0, () => `${module} is [${outFeatures}, ${inFeatures}]`);
          }
          for (const group of block.fusionGroups)
            for (const module of group)
              expectThat(own.has(module), () => `the fused ${module} is no linear of its block`);
          for (const { id, consumers } of block.edges)
            for (const module of consumers) expectThat(own.has(module), () => `edge ${id}: ${module} is no linear`);
        }
        expectThat(expected.size > 0, () => 'no tensor is expected');
      },
    },
    {
      name: 'a config without sizes is refused',
      run(architecture) {
        let refused = false;
        try {
          architecture.describe({ model_type: config.model_type });
        } catch {
          refused = true;
        }
        expectThat(refused, () => 'a config without sizes was described');
      },
    },
  ];
}

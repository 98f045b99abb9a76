/**
 * Converts the words of a file to the affine layout on the device: one invocation for a word of codes (or a block).
 * Layouts of files: docs/reference/file-formats.md#tensors-of-gptq (GPTQ), 3.1 (AWQ), 6.3 (GGUF).
 */
import { type KernelSource, linearIndex, wgslModule } from './module.js';

export const repackInvocations = 64;

interface Repacking {
  readonly label: string;
  readonly parameters: KernelSource['parameters'];
  /** Names of the bindings that are read and written, all `array<u32>`. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Number of invocations, as an expression of the parameters. */
  readonly items: string;
  /** Statements of invocation `i`. */
  readonly body: string;
}

function repack({ label, parameters, inputs, outputs, items, body }: Repacking): KernelSource {
  return wgslModule({
    label,
    parameters,
    bindings: [
      ...inputs.map((name) => ({ name, access: 'read' as const, type: 'array<u32>' })),
      ...outputs.map((name) => ({ name, access: 'read_write' as const, type: 'array<u32>' })),
    ],
    body: `
@compute @workgroup_size(${repackInvocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = ${linearIndex(repackInvocations)};
  if (i >= ${items}) {
    return;
  }
${body}
}`,
  });
}

/**
 * GPTQ: input k has its `bits` bits at bit `k * bits` of a stream of words down the rows of `qweight`; an output is a
 * column. The result has the inputs in `order`; codes of 3 bits become 4 bits wide.
 */
export function repackGptq(bits: 2 | 3 | 4 | 8): KernelSource {
  const wide = bits === 3 ? 4 : bits;
  const count = 32 / wide;
  const straddles = bits === 3;
  return repack({
    label: `repack gptq ${bits}-bit`,
    parameters: { n: 'u32', k: 'u32' },
    inputs: ['qweight', 'order'],
    outputs: ['codes'],
    items: `p.n * (p.k / ${count}u)`,
    body: `  let row = i / (p.k / ${count}u);
  let k0 = ${count}u * (i % (p.k / ${count}u));
  var word = 0u;
  for (var j = 0u; j < ${count}u; j++) {
    let bit = order[k0 + j] * ${bits}u;
    var code = qweight[(bit / 32u) * p.n + row] >> (bit % 32u);${
      straddles
        ? `
    if (bit % 32u > ${32 - bits}u) {
      code |= qweight[(bit / 32u + 1u) * p.n + row] << (32u - bit % 32u);
    }`
        : ''
    }
    word |= (code & ${2 ** bits - 1}u) << (${wide}u * j);
  }
  codes[i] = word;`,
  });
}

/** AWQ `gemm`: eight outputs a word, output j of them in nibble [0,4,1,5,2,6,3,7][j]. */
export function repackAwq(): KernelSource {
  return repack({
    label: 'repack awq',
    parameters: { n: 'u32', k: 'u32' },
    inputs: ['qweight'],
    outputs: ['codes'],
    items: 'p.n * (p.k / 8u)',
    body: `  let row = i / (p.k / 8u);
  let k0 = 8u * (i % (p.k / 8u));
  let j = row % 8u;
  let shift = 4u * (j / 2u + 4u * (j % 2u));
  var word = 0u;
  for (var c = 0u; c < 8u; c++) {
    word |= ((qweight[(k0 + c) * (p.n / 8u) + row / 8u] >> shift) & 15u) << (4u * c);
  }
  codes[i] = word;`,
  });
}

const halfAt = (offset: string) => `(blocks[(${offset}) / 4u] >> (8u * ((${offset}) % 4u))) & 0xffffu`;

/** An invocation for each block of GGUF. */
const wholeBlocks: Pick<Repacking, 'parameters' | 'inputs' | 'outputs' | 'items'> = {
  parameters: { blocks: 'u32' },
  inputs: ['blocks'],
  outputs: ['codes', 'scales'],
  items: 'p.blocks',
};

/** GGUF Q4_0: an f16 scale and 16 bytes, byte j with codes j (low) and j + 16 (high); zero 8 (f16 0x4800). */
export function repackQ4_0(): KernelSource {
  return repack({
    label: 'repack q4_0',
    ...wholeBlocks,
    body: `  let base = 18u * i;
  scales[i] = (${halfAt('base')}) | 0x48000000u;
  for (var half = 0u; half < 2u; half++) {
    var low = 0u;
    var high = 0u;
    for (var j = 0u; j < 4u; j++) {
      let two = ${halfAt('base + 2u + 8u * half + 2u * j')};
      low |= ((two & 15u) | ((two >> 4u) & 0xf0u)) << (8u * j);
      high |= (((two >> 4u) & 15u) | ((two >> 8u) & 0xf0u)) << (8u * j);
    }
    codes[4u * i + half] = low;
    codes[4u * i + 2u + half] = high;
  }`,
  });
}

/** GGUF Q8_0: an f16 scale and 32 signed bytes; codes get an offset of 128, which is the zero (f16 0x5800). */
export function repackQ8_0(): KernelSource {
  return repack({
    label: 'repack q8_0',
    ...wholeBlocks,
    body: `  let base = 34u * i;
  scales[i] = (${halfAt('base')}) | 0x58000000u;
  for (var j = 0u; j < 8u; j++) {
    let first = ${halfAt('base + 2u + 4u * j')};
    let second = ${halfAt('base + 4u + 4u * j')};
    codes[8u * i + j] = (first | (second << 16u)) ^ 0x80808080u;
  }`,
  });
}

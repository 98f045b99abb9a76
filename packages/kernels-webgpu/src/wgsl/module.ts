/**
 * Composes WGSL modules. A kernel is a pure function from options to a `KernelSource`. Two calls with equal options
 * give equal text. Pipelines are cached by this text, and the snapshots in `snapshots/` have it for reviews.
 */
export interface Binding {
  readonly name: string;
  readonly access: 'read' | 'read_write';
  /** WGSL type: `array<f32>`, `array<vec4u>`. */
  readonly type: string;
}

export interface KernelSource {
  /** The name in errors and in a debugger. */
  readonly label: string;
  readonly code: string;
  /** Names of the fields of the uniform `p`, in order: binding 0. */
  readonly parameters: Readonly<Record<string, 'u32' | 'f32'>>;
  /** Storage buffers: bindings 1 and up, in this order. */
  readonly bindings: readonly Binding[];
}

export interface ModuleParts {
  readonly label: string;
  readonly enable?: readonly string[];
  readonly requires?: readonly string[];
  readonly parameters: KernelSource['parameters'];
  readonly bindings: readonly Binding[];
  /** The code after the declarations, with the entry point `main`. */
  readonly body: string;
}

export function wgslModule({
  label,
  enable = [],
  requires = [],
  parameters,
  bindings,
  body,
}: ModuleParts): KernelSource {
  const fields = Object.entries(parameters).map(([name, type]) => `  ${name}: ${type},`);
  const code = [
    ...enable.map((name) => `enable ${name};`),
    ...requires.map((name) => `requires ${name};`),
    'struct Parameters {',
    ...fields,
    '}',
    '@group(0) @binding(0) var<uniform> p: Parameters;',
    ...bindings.map(
      ({ name, access, type }, i) => `@group(0) @binding(${i + 1}) var<storage, ${access}> ${name}: ${type};`,
    ),
    '',
    body.trim(),
    '',
  ].join('\n');
  return { label, code, parameters, bindings };
}

/** `count` lines or expressions made from their index. */
export function each(count: number, make: (i: number) => string, separator = '\n'): string {
  return Array.from({ length: count }, (_, i) => make(i)).join(separator);
}

/**
 * One-dimensional kernels may need more workgroups than one dimension allows. So the workgroups fill x first, then y.
 */
export const linearIndex = (workgroup: number) => `(group.y * groups.x + group.x) * ${workgroup}u + local`;

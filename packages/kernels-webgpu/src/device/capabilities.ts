/** What a device offers beyond WebGPU's core, as far as a kernel has a variant for it. */
export interface Capabilities {
  /** 16-bit floats in WGSL: feature `shader-f16`. */
  readonly f16: boolean;
  /** Sums over a subgroup: feature `subgroups`. */
  readonly subgroups: boolean;
  /** `dot4I8Packed`: WGSL language feature `packed_4x8_integer_dot_product`. */
  readonly packedDot: boolean;
}

/** Nothing beyond the core: kernels that run on every device. */
export const plainCapabilities: Capabilities = { f16: false, subgroups: false, packedDot: false };

/**
 * Capabilities of a device. Features count when the device was requested with them; the language features belong to the
 * `GPU` object (`navigator.gpu.wgslLanguageFeatures`) and are handed in, because a device does not know them.
 */
export function capabilitiesOf(
  features: { has(name: string): boolean },
  wgslLanguageFeatures: { has(name: string): boolean } = new Set<string>(),
): Capabilities {
  return {
    f16: features.has('shader-f16'),
    subgroups: features.has('subgroups'),
    packedDot: wgslLanguageFeatures.has('packed_4x8_integer_dot_product'),
  };
}

/** The features of a device beyond WebGPU's core for which a kernel has a variant. */
export interface Capabilities {
  /** 16-bit floats in WGSL: feature `shader-f16`. */
  readonly f16: boolean;
  /** Sums over a subgroup: feature `subgroups`. */
  readonly subgroups: boolean;
  /** `dot4I8Packed`: WGSL language feature `packed_4x8_integer_dot_product`. */
  readonly packedDot: boolean;
}

/** No feature beyond the core: kernels that run on every device. */
export const plainCapabilities: Capabilities = { f16: false, subgroups: false, packedDot: false };

/**
 * Capabilities of a device. A feature counts if the device was requested with it. The language features belong to the
 * `GPU` object (`navigator.gpu.wgslLanguageFeatures`); the caller passes them, because a device does not know them.
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

import type { Checkpoint } from '@q/checkpoint';
import { FormatError, type Scheme } from '@q/core';
import { byteLength } from '@q/safetensors';
import type { Recipe } from '../recipe/recipe.js';
import type { PlannedModule } from './plan.js';

/**
 * Bytes of quantized modules. Modules of one shape and scheme take the same number of bytes, so the layout computes it
 * once for all of them.
 */
export class StoredBytes {
  /** Suffixes of the names of tensors that replace weights, after the module's name. */
  readonly endings = new Set<string>();
  readonly #known = new Map<Scheme, { readonly of: PlannedModule; readonly bytes: number }[]>();

  constructor(
    private readonly layout: Recipe['layout'],
    private readonly checkpoint: Checkpoint,
  ) {}

  bytesOf(planned: PlannedModule): number {
    const { linear, scheme, quantizer, activation } = planned;
    let known = this.#known.get(scheme);
    if (known === undefined) this.#known.set(scheme, (known = []));
    const alike = known.find(
      ({ of }) =>
        of.quantizer === quantizer &&
        of.activation === activation &&
        of.linear.inFeatures === linear.inFeatures &&
        of.linear.outFeatures === linear.outFeatures &&
        of.linear.transposed === linear.transposed &&
        of.linear.bias === linear.bias,
    );
    if (alike) return alike.bytes;
    let bytes = 0;
    for (const part of this.layout.plan(planned)) {
      if (part.name.startsWith(linear.module)) this.endings.add(part.name.slice(linear.module.length));
      else if (this.checkpoint.tensors.has(part.name)) throw new FormatError(`tensor ${part.name} is planned twice`);
      bytes += byteLength(part);
    }
    known.push({ of: planned, bytes });
    return bytes;
  }
}

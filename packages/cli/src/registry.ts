/** Names of everything that a command line or a recipe file can ask for. The only registry of names in the toolkit. */
import { gptqLayout, type QuantizedLayout } from '@q/checkpoint';
import { absMax, minMax, type Quantizer, type Rewrite, type ScaleFit } from '@q/core';
import { type GptqOptions, gptq, paperOptions } from '@q/gptq';
import { rotate } from '@q/rotate';
import { rtn } from '@q/rtn';

/** Options that methods share; each takes what it knows. */
export interface MethodOptions {
  readonly actOrder?: boolean;
  readonly staticGroups?: boolean;
  readonly damping?: number;
  readonly blockSize?: number;
  readonly fit?: ScaleFit;
  readonly importance?: GptqOptions['importance'];
  readonly retarget?: number;
  readonly residual?: boolean;
  readonly refineRounds?: number;
}

const sweep = ['actOrder', 'staticGroups', 'damping', 'blockSize', 'fit'] as const;

export const methods: Readonly<
  Record<
    string,
    { readonly options: readonly (keyof MethodOptions)[]; readonly make: (options: MethodOptions) => Quantizer }
  >
> = {
  rtn: { options: ['fit'], make: rtn },
  gptq: { options: [...sweep, 'importance', 'retarget', 'residual', 'refineRounds'], make: gptq },
  'gptq-paper': { options: sweep, make: (options) => gptq({ ...paperOptions, ...options }) },
};

/** What changes the whole model before anything else does, by the option that asks for it. */
export const rewrites: Readonly<Record<'rotate', () => Rewrite>> = { rotate };

export const fits: Readonly<Record<string, () => ScaleFit>> = {
  minMax,
  absMax,
};

export const layouts: Readonly<Record<string, (options: { version?: 1 | 2 | 'auto' }) => QuantizedLayout>> = {
  gptq: gptqLayout,
};

/** Readers of every layout, for opening folders. */
export const knownLayouts: readonly QuantizedLayout[] = Object.values(layouts).map((make) => make({}));

/** One way to store a unit. */
export interface Option {
  /** What it takes from the budget, in any unit (bytes, bits): finite, not negative. */
  readonly cost: number;
  /** What it loses (KL divergence, squared error): finite. The sum over all units is minimised. */
  readonly loss: number;
}

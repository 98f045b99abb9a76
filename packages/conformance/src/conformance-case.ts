/** One check of a battery: `run` throws where the part does not pass. */
export interface Check<Part> {
  readonly name: string;
  run(part: Part): void | Promise<void>;
}

/** @throws Error saying what was found and what was expected */
export function expectThat(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}

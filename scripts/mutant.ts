/** A fault that the tests must notice. `from` stands exactly once in the file. */
export interface Mutant {
  file: string;
  from: string;
  to: string;
  /** What jest is asked to run. */
  tests: string;
}

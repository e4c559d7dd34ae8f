/** What a protection is: something the server refuses, the one place where it does, and the test that notices when it is gone. */

export interface Protection {
  /** What is kept out, in words for `docs/security-tests.md`. */
  readonly against: string;
  /** The file that protects, below the root. */
  readonly file: string;
  /** A piece of it that is there exactly once. */
  readonly find: string;
  /** What stands there when the protection is taken out; still loads. */
  readonly replace: string;
  /** The file of the test. */
  readonly test: string;
  /** The test's name, its `describe` included, as `bun test -t` shows it: `login that fails leaves the session it came with`. */
  readonly name: string;
}

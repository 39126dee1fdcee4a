/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2023' },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  // Three files at a time, of which two cores mostly have one that waits; each jest worker has a Redis database of its own (see
  // test/support/redis.ts).
  maxWorkers: 3,
  testSequencer: '<rootDir>/test/support/longest-first.js',
  // Above what the helpers of the tests wait, also several times.
  testTimeout: 240_000,
  // Set by scripts/mutate.ts.
  setupFiles: process.env.FC_SHRINK === '0' ? ['<rootDir>/test/support/no-shrinking.ts'] : [],
};

import tseslint from 'typescript-eslint';

const BANNED_NAMES = '/^(data|info|util|utils|helper|helpers|manager|common|misc)$/';
const BANNED_NAME_SITES = [
  'VariableDeclarator > Identifier.id',
  ':function > Identifier.params',
  ':function > AssignmentPattern > Identifier.left',
  'ObjectPattern > Property > Identifier.value',
  'FunctionDeclaration > Identifier.id',
  'ClassDeclaration > Identifier.id',
  'TSInterfaceDeclaration > Identifier.id',
  'TSTypeAliasDeclaration > Identifier.id',
];

const restrictedSyntax = [
  {
    selector: BANNED_NAME_SITES.map((site) => `${site}[name=${BANNED_NAMES}]`).join(', '),
    message: 'This name says nothing; name the thing itself.',
  },
  {
    selector: 'ExportAllDeclaration',
    message: 'No barrel files: export names, from the file that defines them.',
  },
  { selector: '[accessibility="private"]', message: 'Use a #private field.' },
];
const noDefaultExport = { selector: 'ExportDefaultDeclaration', message: 'Export by name.' };

const environmentIsForEntryPoints = {
  object: 'process',
  property: 'env',
  message: 'The environment is read in the entry points only; take a setting as a parameter.',
};
const exitIsForEntryPoints = {
  object: 'process',
  property: 'exit',
  message: 'Only an entry point may end the process; throw, or let the event loop run empty.',
};

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'node_modules/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // A method of an interface may have to return a promise even where one implementation has nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-syntax': ['error', ...restrictedSyntax, noDefaultExport],
      'no-restricted-properties': ['error', environmentIsForEntryPoints, exitIsForEntryPoints],
      'no-console': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'object-shorthand': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['src/main.ts', 'workers/main.ts', 'src/demo/**', 'test/**', 'bench/**', 'scripts/**'],
    rules: { 'no-restricted-properties': 'off', 'no-console': 'off' },
  },
  {
    files: ['test/**'], // Tests look at JSON from the wire, whose shape is what they assert.
    rules: {
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  {
    files: ['test/support/global-*.ts'], // jest asks for default exports here
    rules: { 'no-restricted-syntax': ['error', ...restrictedSyntax] },
  },
);

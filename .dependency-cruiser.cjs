/** The import table of ARCHITECTURE.md, kept true. */
const outside = { test: '^(test|bench|scripts)/' };

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      severity: 'error',
      comment: 'Two files that need each other are one file, or hide a third.',
      from: {},
      to: { circular: true },
    },
    {
      name: 'queues-know-only-themselves-and-shared',
      severity: 'error',
      from: { path: '^queues/' },
      to: { path: ['^(src|workers)/', outside.test], pathNot: '^src/shared/' },
    },
    {
      name: 'fair-backend-stands-alone',
      severity: 'error',
      comment: 'Any BullMQ application can use queues/fair; nothing of Waggle comes with it.',
      from: { path: '^queues/fair/' },
      to: { path: '^(queues|src|workers)/', pathNot: '^queues/fair/' },
    },
    {
      name: 'tasks-are-pure-definitions',
      severity: 'error',
      comment:
        'The API reads task definitions too; they hold names, schemas and defaults, no connection and no handler.',
      from: { path: '^queues/tasks/' },
      to: { path: 'node_modules/(bullmq|ioredis)/' },
    },
    {
      name: 'workers-know-queues-and-shared',
      severity: 'error',
      from: { path: '^workers/' },
      to: { path: ['^src/', outside.test], pathNot: '^src/shared/' },
    },
    {
      name: 'src-never-imports-workers',
      severity: 'error',
      comment: 'API and workers meet in Redis alone, so either can be deployed without the other.',
      from: { path: '^src/' },
      to: { path: ['^workers/', outside.test] },
    },
    {
      name: 'shared-is-a-leaf',
      severity: 'error',
      from: { path: '^src/shared/' },
      to: { path: '^(src|queues|workers)/', pathNot: '^src/shared/' },
    },
    {
      name: 'client-stands-alone',
      severity: 'error',
      comment:
        'Whoever calls the API needs neither Redis nor Node for it: of anything else the client takes only types.',
      from: { path: '^src/client/' },
      to: { pathNot: '^src/client/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'client-knows-shared-only',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { path: '^(src|queues|workers)/', pathNot: '^src/(client|shared)/' },
    },
    {
      name: 'demo-is-not-the-product',
      severity: 'error',
      comment: 'The demo is left out of the build.',
      from: { path: '^(src|queues|workers)/', pathNot: '^src/demo/' },
      to: { path: '^src/demo/' },
    },
    {
      name: 'entry-points-are-not-imported',
      severity: 'error',
      comment: 'They read the environment and start things; run them as processes.',
      from: {},
      to: { path: '^(src|workers|src/demo)/main\\.ts$' },
    },
    {
      name: 'production-needs-no-dev-dependency',
      severity: 'error',
      from: { path: '^(src|queues|workers)/', pathNot: '^src/demo/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'every-import-is-declared-and-found',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'] },
    },
    { name: 'every-import-resolves', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'tracing-is-loaded-when-it-is-on',
      severity: 'error',
      comment: 'The packages are optional, and who does not trace does not pay for them.',
      from: { path: '^(src|queues|workers)/', pathNot: '^src/shared/otel\\.ts$' },
      to: { path: 'node_modules/@opentelemetry/' },
    },
    {
      name: 'tracing-is-imported-dynamically',
      severity: 'error',
      from: {},
      to: { path: '^src/shared/otel\\.ts$', dynamic: false },
    },
    {
      name: 'file-names-say-something',
      severity: 'error',
      from: {},
      to: {
        path: [
          '/(util|utils|helper|helpers|manager|managers)(\\.ts$|/)',
          '/(common|misc|info|data)(\\.ts$|/)',
        ],
        pathNot: 'node_modules/',
      },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};

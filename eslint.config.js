import globals from 'globals'
import neostandard, { plugins, resolveIgnoresFromGitignore } from 'neostandard'

const parserOptions = { projectService: true, tsconfigRootDir: import.meta.dirname }

/** What a folder may not import: arrows run routes → rooms → interfaces of presence and broker → protocol. */
function layer (files, ...group) {
  return { files, rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message: 'The layer rule forbids this import (see docs/architecture.md).' }] }] } }
}
const outside = ['fastify', '@fastify/*', 'fastify-*', 'ws', 'ioredis', 'prom-client', 'pino']

export default [
  ...neostandard({ ts: true, ignores: resolveIgnoresFromGitignore() }),
  {
    rules: {
      camelcase: 'off', // field names are snake_case on the wire
      'no-void': ['error', { allowAsStatement: true }] // says of a promise that nobody waits for it
    }
  },
  { files: ['web/**'], languageOptions: { globals: globals.browser } },
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': plugins['typescript-eslint'].plugin },
    languageOptions: { parserOptions },
    rules: {
      // a test that is declared at the top is awaited by the runner
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', name: ['test', 'it', 'suite', 'describe'], package: 'node:test' }] }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-redeclare': 'off', // a schema and its type share a name
      '@typescript-eslint/no-redeclare': 'off',
      'no-restricted-syntax': ['error', { selector: 'TSEnumDeclaration', message: 'Use a const object or a union: types are only erased here.' }]
    }
  },
  layer(['src/protocol/**'], '../*', ...outside),
  layer(['src/rooms/**'], ...outside, '../routes/*', '../plugins/*', '../presence/*-presence.ts', '../broker/*-broker.ts', '../*.ts'),
  layer(['src/presence/**'], 'fastify', '@fastify/*', 'ws', '../routes/*', '../plugins/*', '../rooms/*', '../broker/*-broker.ts', '../*.ts'),
  layer(['src/broker/**'], 'fastify', '@fastify/*', 'ws', '../routes/*', '../plugins/*', '../rooms/*', '../presence/*', '../*.ts'),
  layer(['src/routes/**'], 'ioredis', '../presence/*', '../broker/*')
]

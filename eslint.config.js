import globals from 'globals'
import neostandard, { plugins, resolveIgnoresFromGitignore } from 'neostandard'

const parserOptions = { projectService: true, tsconfigRootDir: import.meta.dirname }

const MESSAGE = 'The layer rule forbids this import (see docs/architecture.md).'

/** What a folder may not import: arrows run routes → rooms → interfaces of presence and broker → protocol. */
function layer (files, ...group) {
  return {
    files,
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ group: [...group, '../../*'], message: MESSAGE }] }],
      'no-restricted-syntax': ['error', ERASABLE, { selector: 'ImportExpression', message: `${MESSAGE} A dynamic one would go round it.` }]
    }
  }
}
const ERASABLE = { selector: 'TSEnumDeclaration', message: 'Use a const object or a union: types are only erased here.' }
const http = ['fastify', '@fastify/*', 'fastify-*', 'ws', 'prom-client']

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
      'no-restricted-syntax': ['error', ERASABLE]
    }
  },
  layer(['src/protocol/**'], '../*', ...http, 'ioredis', 'pino'),
  layer(['src/rooms/**'], ...http, 'ioredis', 'pino', '../routes/*', '../plugins/*', '../redis/*', '../presence/*-*.ts', '../broker/*-broker.ts', '../*.ts'),
  layer(['src/presence/**'], ...http, '../routes/*', '../plugins/*', '../rooms/*', '../broker/*-broker.ts', '../*.ts'),
  layer(['src/broker/**'], ...http, '../routes/*', '../plugins/*', '../rooms/*', '../presence/*', '../*.ts'),
  layer(['src/tokens/**'], ...http, 'ioredis', 'pino', '../routes/*', '../plugins/*', '../rooms/*', '../presence/*', '../broker/*', '../redis/*', '../*.ts'),
  layer(['src/ice/**'], ...http, 'ioredis', 'pino', '../routes/*', '../plugins/*', '../rooms/*', '../presence/*', '../broker/*', '../redis/*', '../tokens/*', '../*.ts'),
  layer(['src/routes/**'], 'ioredis', '../tokens/*', '../presence/*', '../broker/*', '../redis/*', '../plugins/*', ...['roster', 'hub', 'departures', 'repair', 'relay', 'watchers', 'record'].map(name => `../rooms/${name}.ts`)),
  ...['', 'mesh/'].map(folder => ({
    files: [`src/client/${folder}*.ts`],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [
          { regex: `^${folder === '' ? '' : '\\.\\./'}\\.\\./(?!protocol/(messages|codes)\\.ts$)|^[^.]`, message: MESSAGE },
          { regex: 'protocol/messages', allowTypeImports: true, message: `${MESSAGE} Types alone: the schemas would come with their library.` }
        ]
      }]
    }
  }))
]

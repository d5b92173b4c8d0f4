/**
 * `npm run dev`: Turnip from its sources, started anew at every change. Nothing has to be set up first: what the
 * environment and .env leave blank is filled so that one instance runs without Redis.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { readFlags } from './command-line.js'
import { runUntilExit } from './run-until-exit.js'
import { keepClientTranspiled } from './transpile-client.js'

const HELP = `Usage: npm run dev

Runs src/server.ts and starts it anew when a source file changes (or when Return is pressed);
dist/client, which the demo page loads, follows src/client.
Settings come from the environment, then from .env; those left blank become:

  ENVIRONMENT        development (the demo page and POST /generate-token are on)
  REDIS_URL          memory: (rooms live in this process, and go with it)
  ACCESS_SECRET      random, made for this run: tokens outlive a reload, not the run
  DRAIN_TIMEOUT_MS   2000
  PUBLIC_IP          127.0.0.1, and METRICS_BIND_IP too: who asks gets a token, so this machine only
  THREAD_NUM         2 x CPU count (UV_THREADPOOL_SIZE follows it)

  -h, --help         show this text
`

readFlags(HELP)

if (existsSync('.env')) process.loadEnvFile('.env')
const environment = process.env

const hasOwnSecret = isSet(environment.ACCESS_SECRET)
const threads = environment.THREAD_NUM || environment.UV_THREADPOOL_SIZE || String(2 * availableParallelism())
fill('ENVIRONMENT', 'development')
fill('REDIS_URL', 'memory:')
// Made here and not in the server, which a reload replaces: the tokens of open pages stay good.
fill('ACCESS_SECRET', randomBytes(32).toString('hex'))
// tsx kills a server that has not ended 5 s after a change; one that drains longer would lose its farewells.
fill('DRAIN_TIMEOUT_MS', '2000')
fill('THREAD_NUM', threads)
// Whoever asks gets a token, as anybody: not for the network that a laptop happens to be in.
fill('PUBLIC_IP', '127.0.0.1')
fill('METRICS_BIND_IP', '127.0.0.1')
// Node reads this one at its start only, too early for the server to set it for itself.
fill('UV_THREADPOOL_SIZE', threads)

const page = environment.ENVIRONMENT === 'development' ? ' (demo page)' : ''
const rooms = environment.REDIS_URL?.startsWith('memory:') ? 'rooms in memory' : 'rooms in Redis'
const secret = hasOwnSecret ? 'secret from your settings' : 'secret made for this run'
console.log(`Turnip in development: http://localhost:${environment.PORT || 5004}${page}, ${rooms}, ${secret}`)

const endTranspiling = keepClientTranspiled()
process.exitCode = await runUntilExit(
  [fileURLToPath(import.meta.resolve('tsx/cli')), 'watch', '--clear-screen=false', 'src/server.ts'],
  { cwd: fileURLToPath(new URL('..', import.meta.url)), env: environment }
)
endTranspiling()

/**
 * An empty value is a blank too: .env.example has such lines.
 *
 * @param {string} name
 * @param {string} value
 */
function fill (name, value) {
  if (!isSet(process.env[name])) process.env[name] = value
}

/**
 * @param {string | undefined} value
 * @returns {boolean}
 */
function isSet (value) {
  return value !== undefined && value !== ''
}

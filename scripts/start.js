/**
 * `npm start`: the built app under `fastify start`, which knows neither Turnip's settings nor how long it drains.
 * This gives it the address, the port and the time, and Node the number of threads, which has to stand in the
 * environment before Node starts.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { readFlags } from './command-line.js'
import { runUntilExit } from './run-until-exit.js'

const HELP = `Usage: npm start

Runs the built app (dist/app.js) with fastify start. Settings come from the environment, then from .env in the current
directory; PUBLIC_IP and PORT say where it listens, THREAD_NUM how many threads it has, DRAIN_TIMEOUT_MS how long it may
take to end. On SIGTERM, SIGINT or SIGHUP it drains and ends; on a second one it ends at once.

  -h, --help  show this text
`

// What closing costs beside the drain itself: the last keys in Redis, its connections, the listeners.
const CLOSE_MARGIN_MS = 5000

const app = new URL('../dist/app.js', import.meta.url)
const config = new URL('../dist/config.js', import.meta.url)

readFlags(HELP)

process.exitCode = await start()

/** @returns {Promise<number>} */
async function start () {
  if (!existsSync(app)) {
    console.error('dist/app.js is missing: run "npm run build" first')
    return 1
  }
  if (existsSync('.env')) process.loadEnvFile('.env')

  const settings = await readSettings()
  if (settings === undefined) return 1

  const threads = process.env.UV_THREADPOOL_SIZE || String(settings.threads)
  return await runUntilExit([
    '--import',
    import.meta.resolve('./crash-plainly.js'),
    createRequire(import.meta.url).resolve('fastify-cli/cli.js'),
    'start',
    '--options',
    `--address=${settings.publicIp}`,
    `--port=${settings.port}`,
    `--close-grace-delay=${settings.drainTimeoutMs + CLOSE_MARGIN_MS}`,
    `--plugin-timeout=${settings.drainTimeoutMs + CLOSE_MARGIN_MS}`, // it counts for the drain too
    fileURLToPath(app)
  ], {
    env: {
      ...process.env,
      // fastify-cli takes --port=0 for "not given" and asks PORT, then falls back to 3000.
      PORT: String(settings.port),
      UV_THREADPOOL_SIZE: threads,
      THREAD_NUM: process.env.THREAD_NUM || threads
    }
  })
}

/**
 * @typedef {{ port: number, publicIp: string, threads: number, drainTimeoutMs: number }} Settings
 * @returns {Promise<Settings | undefined>} undefined when a setting is wrong, which has been said then
 */
async function readSettings () {
  // Outside the try: a module that does not load is a fault of ours, and wants its stack.
  const { readConfig } = await import(config.href)
  try {
    return readConfig(process.env)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    return undefined
  }
}

/** Turnip as a process of its own: the main listener, the metrics listener, signals and exit codes. */
import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import turnip from './app.ts'
import { readConfig, type Config } from './config.ts'
import { loggerOptions } from './logging.ts'
import limits from './plugins/limits.ts'
import healthRoutes from './routes/health.ts'
import infoRoute from './routes/info.ts'
import { credentialsOf } from './routes/metrics-auth.ts'
import metricsRoute from './routes/metrics.ts'
import { sendRefusal } from './routes/refusal.ts'
import { answerNotFound, hangUpOnFloods, serverLimits } from './standalone.ts'

/** What closing may take beyond the drain, ms: whatever hangs, the process ends. */
const CLOSE_LIMIT_MS = 8000

if (process.argv.includes('--help')) {
  console.log('Usage: node dist/server.js\n\nA WebRTC signaling server. Settings come from the environment or from .env: see .env.example.')
  process.exit(0)
}

let config: Config
try {
  if (existsSync('.env')) process.loadEnvFile('.env')
  config = readConfig(process.env)
} catch (error) {
  console.error((error as Error).message)
  process.exit(1)
}

const app = Fastify({ ...serverLimits, logger: loggerOptions(config), trustProxy: config.trustProxy })
let operations: FastifyInstance | undefined

process.on('uncaughtException', error => {
  app.log.fatal({ err: error }, 'an error that nothing caught: this instance ends')
  process.exit(1)
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => { void stop(signal) })

let stopping = false
/** Sends the clients away, gives up what is in Redis, ends. A second signal ends at once. */
async function stop (signal: string): Promise<void> {
  if (stopping) process.exit(1)
  stopping = true
  app.log.info({ signal }, 'Turnip is going away')
  setTimeout(() => { process.exit(1) }, config.drainTimeoutMs + CLOSE_LIMIT_MS).unref()
  await app.close()
  await operations?.close() // last, so that probes see the drain
  process.exit(0)
}

try {
  await app.register(turnip, { env: process.env, metricsRoute: false })
  if (app.turnip.registry !== undefined) operations = await createOperations(app)
  await app.listen({ port: config.port, host: config.publicIp })
  await operations?.listen({ port: config.metricsPort, host: config.metricsBindIp })
  app.log.info({ url: urlOf(app), ...(operations && { metrics_url: urlOf(operations) }), realm: config.realm }, 'Turnip is listening')
} catch (error) {
  const { code, port } = error as { code?: string, port?: number }
  if (code === 'EADDRINUSE') app.log.fatal(`port ${port} is taken: stop what listens there, or set PORT or METRICS_PORT`)
  else app.log.fatal({ err: error }, 'Turnip could not start')
  process.exit(1)
}

/** The metrics listener: /metrics, /health and /info on a port and an address of their own. */
async function createOperations ({ turnip: { registry, status }, log: loggerInstance }: FastifyInstance): Promise<FastifyInstance | undefined> {
  if (registry === undefined) return undefined
  const operations = Fastify({ ...serverLimits, loggerInstance, trustProxy: config.trustProxy })
  const credentials = credentialsOf(config)
  operations.setErrorHandler(sendRefusal)
  answerNotFound(operations)
  await operations.register(limits, { config })
  hangUpOnFloods(operations)
  await operations.register(healthRoutes, { status })
  await operations.register(infoRoute, { status, credentials })
  await operations.register(metricsRoute, { registry, credentials })
  return operations
}

function urlOf ({ server }: FastifyInstance): string {
  const { address, family, port } = server.address() as AddressInfo
  const host = family === 'IPv6' ? `[${address}]` : address
  return `http://${address === '0.0.0.0' ? '127.0.0.1' : host}:${port}`
}

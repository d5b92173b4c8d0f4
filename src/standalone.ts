/** What a process of Turnip's own needs beyond the plugin, however it is started. */
import type { Server } from 'node:http'
import { LogController, type FastifyError, type FastifyHttpOptions, type FastifyInstance, type FastifyReply } from 'fastify'
import type { Config } from './config.ts'

/** Limits of the HTTP server, against clients that send headers slowly, endlessly or not at all. Times in ms. */
export const serverLimits = {
  forceCloseConnections: true,
  return503OnClosing: false, // our own routes answer during the drain: /ws with Retry-After, /health with draining
  requestTimeout: 10_000,
  pluginTimeout: 0, // it counts for hooks too: a drain may take longer than the 10 s of the default
  maxRequestsPerSocket: 100, // see hangUpOnFloods
  // Fastify's own answer to an address that it cannot read repeats it, and it may hold a token.
  frameworkErrors: ({ code }: FastifyError, _request: unknown, reply: FastifyReply) => {
    void reply.code(400).send({ statusCode: 400, error: 'Bad Request', message: 'The address cannot be read', code })
  },
  // Load balancers ask for /health every second and clients come in thousands: access logs are the proxy's.
  logController: new LogController({ disableRequestLogging: true }),
  http: { headersTimeout: 5000, connectionsCheckingInterval: 500, maxHeaderSize: 16_384 }
} as const satisfies FastifyHttpOptions<Server>

/** Answers what is not found without its query, which may hold a token. */
export function answerNotFound (app: FastifyInstance): void {
  app.setNotFoundHandler(async (request, reply) => {
    const path = request.url.split('?', 1)[0]
    return await reply.code(404).send({ statusCode: 404, error: 'Not Found', message: `There is no ${request.method} ${path}`, code: 'not_found' })
  })
}

/**
 * Cuts off who sends more requests than a connection may carry, having been told `Connection: close`. Requests that come
 * in one read are carried out in one turn: without this, a client that sends thousands at once stops the event loop.
 */
export function hangUpOnFloods ({ server }: FastifyInstance): void {
  server.on('dropRequest', (_request, socket) => { socket.destroy() })
}

/** Says so when ENVIRONMENT may have been meant for `production` and is not: its checks are off then. */
export function checkEnvironment ({ log }: FastifyInstance, { environment }: Pick<Config, 'environment'>): void {
  if (environment === '' || environment === 'production' || environment === 'development') return
  log.warn(`ENVIRONMENT is ${JSON.stringify(environment)}, which is neither production nor development: neither's rules apply`)
}

/** Says so when whoever reaches this machine reads the metrics. @param address where they answer */
export function checkMetrics ({ log }: FastifyInstance, { enableMetrics, metricsAuth }: Pick<Config, 'enableMetrics' | 'metricsAuth'>, address: string): void {
  const isEveryAddress = /^[0:.]+$/.test(address) // 0.0.0.0, and :: in all its spellings
  if (enableMetrics && metricsAuth === 'none' && isEveryAddress) {
    log.warn(`/metrics and /info answer everybody who reaches ${address}: set METRICS_AUTH=basic, or METRICS_BIND_IP under node dist/server.js, or keep others out in front of it`)
  }
}

/** Says so when the pool of threads, which is fixed before any code of ours runs, is not as set. */
export function checkThreads ({ log }: FastifyInstance, { threads }: Pick<Config, 'threads'>): void {
  const { UV_THREADPOOL_SIZE: size = '4' } = process.env
  if (Number(size) !== threads) {
    log.warn(`the libuv pool has ${size} threads and THREAD_NUM asks for ${threads}: set UV_THREADPOOL_SIZE before Node starts`)
  }
}

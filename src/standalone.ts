/** What a process of Turnip's own needs beyond the plugin, however it is started. */
import type { Server } from 'node:http'
import { LogController, type FastifyHttpOptions, type FastifyInstance } from 'fastify'
import type { Config } from './config.ts'

/** Limits of the HTTP server, against clients that send headers slowly, endlessly or not at all. Times in ms. */
export const serverLimits = {
  forceCloseConnections: true,
  return503OnClosing: false, // our own routes answer during the drain: /ws with Retry-After, /health with draining
  requestTimeout: 10_000,
  // Load balancers ask for /health every second and clients come in thousands: access logs are the proxy's.
  logController: new LogController({ disableRequestLogging: true }),
  http: { headersTimeout: 5000, connectionsCheckingInterval: 1000, maxHeaderSize: 16_384 }
} as const satisfies FastifyHttpOptions<Server>

/** Makes an application ours alone: its 404 repeats no query (it may hold a token), and its threads are looked after. */
export function standAlone (host: FastifyInstance, { threads }: Pick<Config, 'threads'>): void {
  host.setNotFoundHandler(async (request, reply) => {
    const path = request.url.split('?', 1)[0]
    return await reply.code(404).send({ statusCode: 404, error: 'Not Found', message: `There is no ${request.method} ${path}`, code: 'not_found' })
  })
  const { UV_THREADPOOL_SIZE: size = '4' } = process.env
  if (Number(size) !== threads) {
    host.log.warn(`the libuv pool has ${size} threads and THREAD_NUM asks for ${threads}: set UV_THREADPOOL_SIZE before Node starts`)
  }
}

import { createRequire } from 'node:module'
import type { FastifyRequest } from 'fastify'
import type { DestinationStream, LoggerOptions } from 'pino'
import type { build } from 'pino-pretty'
import type { Config } from './config.ts'

/** A request as it is logged: without its query, which may hold a token. */
function requestOf (request: FastifyRequest): object {
  return { method: request.method, path: request.url.split('?', 1)[0], remote_address: request.ip }
}

/** For a scope's own requests, whatever logger the host has. */
export const logSerializers = { req: requestOf as unknown as (request: unknown) => string } // Fastify's type wants a string, pino takes any value

/**
 * JSON in production, for machines; readable lines otherwise. These are made in this process: a thread for them would hold
 * up the end of the process for ten seconds when nobody reads its output any more.
 */
export function loggerOptions ({ logLevel, environment }: Pick<Config, 'logLevel' | 'environment'>): LoggerOptions & { stream?: DestinationStream } {
  return {
    level: logLevel,
    serializers: { req: requestOf },
    ...(environment !== 'production' && { stream: readable() })
  }
}

/** Loaded when it is wanted: production and embedding applications start without it. */
function readable (): DestinationStream {
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof build
  return pretty({ translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname', sync: true })
}

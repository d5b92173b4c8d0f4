/**
 * Turnip as a Fastify plugin: the whole signaling server, for a process of its own or inside a larger application.
 *
 *     await app.register(turnip, { prefix: '/rtc', accessSecret, redisUrl: 'redis://localhost:6379' })
 *     app.turnip.rooms.disbandRoom('standup')
 */
import fastifyCors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Cluster, Redis } from 'ioredis'
import type { Registry } from 'prom-client'
import { readConfig, type Config } from './config.ts'
import { NameTakenError } from './errors.ts'
import { loggerOptions, logSerializers } from './logging.ts'
import auth from './plugins/auth.ts'
import broker from './plugins/broker.ts'
import configPlugin, { loadConfig, type ConfigSource } from './plugins/config.ts'
import lifecycle from './plugins/lifecycle.ts'
import limits from './plugins/limits.ts'
import metrics from './plugins/metrics.ts'
import presence from './plugins/presence.ts'
import redis from './plugins/redis.ts'
import rooms from './plugins/rooms.ts'
import websocket, { provideWebSocket, webSocketOptions } from './plugins/websocket.ts'
import type { RoomService } from './rooms/room-service.ts'
import demoRoute from './routes/demo.ts'
import healthRoutes from './routes/health.ts'
import iceServersRoute from './routes/ice-servers.ts'
import infoRoute from './routes/info.ts'
import { credentialsOf } from './routes/metrics-auth.ts'
import metricsRoute from './routes/metrics.ts'
import { sendRefusal } from './routes/refusal.ts'
import tokenRoute from './routes/token.ts'
import wsRoute from './routes/ws.ts'
import { answerNotFound, checkEnvironment, checkMetrics, checkThreads, hangUpOnFloods, serverLimits } from './standalone.ts'
import { createStatus, type Status } from './status.ts'

declare module 'fastify' {
  interface FastifyInstance { turnip: Turnip }
}

/** What the application that registered Turnip gets of it. */
export interface Turnip {
  readonly rooms: Pick<RoomService, 'members' | 'disbandRoom' | 'roomCount'>
  readonly status: Status
  /** The settings in force. They hold the secret: log none of them. */
  readonly config: Config
  /** What is scraped; undefined with enableMetrics false. */
  readonly registry: Registry | undefined
}

export interface TurnipOptions extends ConfigSource {
  /** Where the routes are: `/rtc` makes `/rtc/ws`. */
  prefix?: string
  /** The host's own Redis client, whose settings are used for connections of Turnip's own. It is never closed. */
  redis?: { client: Redis | Cluster }
  /** The host's decorator, for a second Turnip in one application. Default: `turnip`. */
  decorateAs?: string
  /** Whether /metrics is among the routes. Default: true; a process with a metrics port of its own passes false. */
  metricsRoute?: boolean
}

async function turnip (host: FastifyInstance, options: TurnipOptions): Promise<void> {
  const { prefix = '', redis: { client } = {}, decorateAs = 'turnip', metricsRoute: withMetrics = true } = options
  if (host.hasDecorator(decorateAs)) throw new NameTakenError(decorateAs)
  const config = await loadConfig(host, options)
  await provideWebSocket(host, config)
  if (options.env !== undefined) { // the application is ours alone
    answerNotFound(host)
    hangUpOnFloods(host)
    checkThreads(host, config)
    checkEnvironment(host, config)
    checkMetrics(host, config, withMetrics ? config.publicIp : config.metricsBindIp)
  }
  let decorated: Turnip | undefined
  await host.register(async fastify => {
    await fastify.register(configPlugin, { config })
    await fastify.register(lifecycle)
    await fastify.register(metrics)
    await fastify.register(limits, { config })
    await fastify.register(redis, { client })
    await fastify.register(auth)
    await fastify.register(broker)
    await fastify.register(presence)
    await fastify.register(rooms)
    await fastify.register(websocket)
    // A host's own @fastify/cors answers for all its routes, ours too: a second would not stand beside it.
    if (!fastify.hasRequestDecorator('corsPreflightEnabled')) {
      await fastify.register(fastifyCors, { origin: config.allowedOrigins === '*' ? '*' : [...config.allowedOrigins], exposedHeaders: 'retry-after' })
    }
    fastify.setErrorHandler(sendRefusal)

    const status = createStatus(fastify)
    const credentials = credentialsOf(config)
    const { registry } = fastify.turnipMetrics
    await fastify.register(wsRoute)
    await fastify.register(iceServersRoute)
    await fastify.register(healthRoutes, { status })
    await fastify.register(infoRoute, { status, credentials })
    if (registry !== undefined && withMetrics) await fastify.register(metricsRoute, { registry, credentials })
    if (config.environment === 'development') {
      await fastify.register(tokenRoute)
      await fastify.register(demoRoute)
    }
    decorated = { rooms: fastify.turnipRooms, status, config, registry }
  }, { prefix, logSerializers })
  host.decorate(decorateAs, decorated)
}

/**
 * What `fastify start --options` gives its server and this plugin: a process of its own, with its settings from the
 * environment. Read when asked for, so that importing the plugin reads no variable.
 */
export const options = {
  ...serverLimits,
  get logger () { return loggerOptions(readConfig(process.env)) },
  get trustProxy () { return readConfig(process.env).trustProxy },
  get env () { return process.env }
}

export default fp(turnip, { fastify: '5.x', name: 'turnip' })
export { serverLimits, webSocketOptions }
export type { Config, RoomService, Status }
export type { MemberInfo } from './protocol/messages.ts'

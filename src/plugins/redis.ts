import fastifyRedis from '@fastify/redis'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Redis, type RedisOptions as AllRedisOptions } from 'ioredis'
import { within } from '../redis/deadline.ts'
import type { Measure } from '../redis/measure.ts'
import type { Config } from '../config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined with `memory:`. */
    turnipRedis: RedisConnections | undefined
    /** Keeps the figures of an operation on Redis, and takes out of its errors what must not be logged. */
    turnipMeasure: Measure
  }
}

/** The two connections to Redis: one cannot do the other's work (a subscriber may send no other commands). */
export interface RedisConnections {
  /** Fails fast while Redis is away: a command is answered, or rejected, within REDIS_TIMEOUT_MS. */
  readonly commands: Redis
  /** Waits for Redis as long as it takes, and subscribes again by itself. */
  readonly subscriber: Redis
}

/** Replies keep their usual form: the option that would change it is none of ours. */
type RedisOptions = Omit<AllRedisOptions, 'replyMapping'>

/** How long a goodbye to Redis may take, ms: `quit` on a dead connection would hang for up to a minute. */
const QUIT_MS = 1000
/** Reconnecting: at first after 50 ms, at most after 2 s, with jitter so that instances do not come back in step. */
function retryStrategy (attempt: number): number {
  return Math.min(2000, 50 * 2 ** Math.min(attempt, 6)) * (0.5 + Math.random() / 2)
}

function connectionOptions ({ redisPassword, redisDb, redisTimeoutMs }: Config): RedisOptions {
  return {
    ...(redisPassword !== '' && { password: redisPassword }),
    db: redisDb,
    connectTimeout: redisTimeoutMs,
    retryStrategy,
    lazyConnect: true
  }
}

/** A script whose reply was lost may have run: no command is ever sent a second time behind our back. */
function commandOptions (config: Config): RedisOptions {
  return { maxRetriesPerRequest: 0, enableOfflineQueue: false, commandTimeout: config.redisTimeoutMs, autoResendUnfulfilledCommands: false }
}

const subscriberOptions: RedisOptions = { maxRetriesPerRequest: null, enableOfflineQueue: true, autoResubscribe: true }

/**
 * @param host the host's own client: its settings are used, not its connection, which may wait for Redis for ever where
 * ours must fail fast. It is never closed here.
 */
function createConnections (config: Config, host: Redis | undefined): RedisConnections {
  const open = (options: RedisOptions): Redis => host === undefined
    ? new Redis(config.redisUrl, { ...connectionOptions(config), ...options })
    : host.duplicate({ lazyConnect: true, retryStrategy, ...options })
  return { commands: open(commandOptions(config)), subscriber: open(subscriberOptions) }
}

/** Says goodbye within a bound, whatever state the connection is in. */
async function close (client: Redis): Promise<void> {
  if (client.status === 'ready') await within(QUIT_MS, client.quit()).catch(() => {}) // disconnect ends it all the same
  client.disconnect()
}

/** Redis' refusals carry the command that was refused, and loggers print all of an error: passwords, what users say. */
function withoutCommand (error: unknown): unknown {
  if (error instanceof Error && 'command' in error) delete error.command
  return error
}

/** Decorates `turnipRedis`. With `memory:` it connects nothing. Boot does not wait for Redis: the app answers `starting`. */
export default fp<{ client?: Redis | undefined }>(async (fastify: FastifyInstance, { client }) => {
  const { turnipConfig: config, turnipNonce: nonce, turnipMetrics: metrics } = fastify
  fastify.decorate('turnipMeasure', (operation, run) => metrics.redis(operation, async () => {
    try {
      return await run()
    } catch (error) {
      throw withoutCommand(error)
    }
  }))
  if (config.redisUrl === 'memory:' && client === undefined) {
    fastify.decorate('turnipRedis', undefined)
    return
  }
  const connections = createConnections(config, client)
  const both = [connections.commands, connections.subscriber]
  for (const [name, connection] of Object.entries(connections)) {
    let reached = true
    connection.on('ready', () => {
      if (!reached) fastify.log.info({ connection: name }, 'Redis is back')
      reached = true
    })
    connection.on('error', (error: Error) => {
      const isRefused = /^(WRONGPASS|NOAUTH|NOPERM)/.test(error.message)
      const what = isRefused ? 'Redis refuses this instance: see REDIS_PASSWORD and REDIS_URL' : 'Redis is away; trying to reach it again'
      if (reached) fastify.log.warn({ err: withoutCommand(error), connection: name }, what)
      reached = false
    })
  }
  // @fastify/redis holds boot up until its client is ready and gives up after 10 s: it is given one that says so at once.
  const namespace = `turnip:${nonce}`
  const ready = new Proxy(connections.commands, { get: (target, key) => key === 'status' ? 'ready' : Reflect.get(target, key) })
  await fastify.register(fastifyRedis, { client: ready, namespace })
  ;(fastify.redis as unknown as Record<string, Redis>)[namespace] = connections.commands
  for (const connection of both) connection.connect().catch(() => {}) // reported by 'error', retried by itself
  fastify.decorate('turnipRedis', connections)
  fastify.addHook('onClose', async () => { await Promise.all(both.map(close)) })
}, { name: 'turnip-redis', dependencies: ['turnip-config', 'turnip-metrics'] })

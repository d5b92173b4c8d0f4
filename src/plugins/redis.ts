import fastifyRedis from '@fastify/redis'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { close, createConnections, eventsOf, retryStrategy, withoutCommand, type RedisClient, type RedisConnections } from '../redis/connections.ts'
import { startProbe } from '../redis/probe.ts'
import type { Measure } from '../redis/measure.ts'
import { createNames } from './broker.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined with `memory:`. */
    turnipRedis: RedisConnections | undefined
    /** Keeps the figures of an operation on Redis, and takes out of its errors what must not be logged. */
    turnipMeasure: Measure
  }
}

/** A failure is reported by 'error', and retried by the connection itself. */
function connect (connection: RedisClient): void {
  connection.connect().catch(() => {})
}

/** A Cluster says that it reached no node, and beside it why. */
function reasonOf ({ message, lastNodeError }: Error & { lastNodeError?: Error | null }): string {
  return lastNodeError?.message ?? message
}

/** Decorates `turnipRedis`. With `memory:` it connects nothing. Boot does not wait for Redis: the app answers `starting`. */
export default fp<{ client?: RedisClient | undefined }>(async (fastify: FastifyInstance, { client }) => {
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
  const connections = createConnections(config, client, createNames(config.realm, 0).inbox(nonce))
  const { commands, subscriber } = connections
  const both = [commands, subscriber]
  let isClosing = false
  for (const [name, connection] of Object.entries({ commands, subscriber })) {
    /** What the log was told last; undefined while all is well. */
    let told: string | undefined
    let wasReady = false
    const events = eventsOf(connection)
    events.on('ready', () => {
      if (told !== undefined) fastify.log.info({ connection: name }, 'Redis is back')
      told = undefined
      wasReady = true
    })
    events.on('error', (error: Error) => {
      const isRefused = /^(WRONGPASS|NOAUTH|NOPERM)/.test(reasonOf(error))
      const what = isRefused
        ? 'Redis refuses this instance: see REDIS_PASSWORD and REDIS_URL'
        : wasReady ? 'Redis is away; trying to reach it again' : 'Redis cannot be reached: start it, or see REDIS_URL (memory: does without). Until then nobody is let in; trying again'
      if (told !== what) fastify.log.warn({ err: withoutCommand(error), connection: name }, what)
      told = what
    })
    // Nobody has ended it: ioredis gives up where a failover meets a connection that is just being made.
    events.on('end', () => {
      if (!isClosing) setTimeout(() => { if (!isClosing) connect(connection) }, retryStrategy(1))
    })
  }
  // @fastify/redis holds boot up until its client is ready and gives up after 10 s: it is given one that says so at once.
  const namespace = `turnip:${nonce}`
  const ready = new Proxy<RedisClient>(commands, { get: (target, key) => key === 'status' ? 'ready' : Reflect.get(target, key) })
  await fastify.register(fastifyRedis, { client: ready, namespace })
  ;(fastify.redis as unknown as Record<string, RedisClient>)[namespace] = commands
  both.forEach(connect)
  const probe = startProbe(connections, config.redisTimeoutMs)
  fastify.decorate('turnipRedis', connections)
  fastify.addHook('onClose', async () => {
    isClosing = true
    probe.stop()
    await Promise.all(both.map(close))
  })
}, { name: 'turnip-redis', dependencies: ['turnip-config', 'turnip-metrics'] })

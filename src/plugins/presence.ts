import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Leases } from '../presence/leases.ts'
import { MemoryPresence } from '../presence/memory-presence.ts'
import type { Presence } from '../presence/presence.ts'
import { RedisLeases } from '../presence/redis-leases.ts'
import { RedisPresence } from '../presence/redis-presence.ts'

declare module 'fastify' {
  interface FastifyInstance {
    turnipPresence: Presence
    /** Undefined with `memory:`, where there is one instance. */
    turnipLeases: Leases | undefined
  }
}

/** Decorates `turnipPresence` and `turnipLeases`: in Redis, or in the process with `memory:`. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipRedis, turnipNames: names, turnipNonce: nonce, turnipMeasure: measure, turnipAnnounce: announce } = fastify
  if (turnipRedis === undefined) {
    fastify.decorate('turnipPresence', new MemoryPresence(announce))
    fastify.decorate('turnipLeases', undefined)
    return
  }
  const redis = turnipRedis.commands
  const leases = new RedisLeases({ redis, names, nonce, measure, leaseMs: config.leaseMs, timeoutMs: config.redisTimeoutMs })
  fastify.decorate('turnipPresence', new RedisPresence({ redis, names, leases, measure }))
  fastify.decorate('turnipLeases', leases)
}, { name: 'turnip-presence', dependencies: ['turnip-config', 'turnip-redis', 'turnip-broker'] })

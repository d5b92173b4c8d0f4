import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { MemoryPresence } from '../presence/memory-presence.ts'
import type { Presence } from '../presence/presence.ts'
import { RedisPresence } from '../presence/redis-presence.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipPresence: Presence }
}

/** Decorates `turnipPresence`: in Redis, or in the process with `memory:`. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipRedis: redis, turnipNames: names, turnipNonce: nonce, turnipMeasure: measure, turnipAnnounce: announce } = fastify
  const presence: Presence = redis === undefined
    ? new MemoryPresence(announce)
    : new RedisPresence({ redis: redis.commands, names, instance: nonce, measure })
  fastify.decorate('turnipPresence', presence)
}, { name: 'turnip-presence', dependencies: ['turnip-redis', 'turnip-broker'] })

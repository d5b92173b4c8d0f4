import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { turnipLifecycle: Lifecycle }
}

/**
 * Where an instance is in its life. `starting`: Redis was not reached yet, nobody can be let in. `serving`.
 * `draining`: it goes away, clients are told so.
 */
export interface Lifecycle { phase: 'starting' | 'serving' | 'draining' }

/** Decorates `turnipLifecycle`. */
export default fp(async (fastify: FastifyInstance) => {
  fastify.decorate('turnipLifecycle', { phase: 'starting' })
}, { name: 'turnip-lifecycle' })

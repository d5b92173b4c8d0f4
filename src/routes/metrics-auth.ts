import { createHash, timingSafeEqual } from 'node:crypto'
import basicAuth from '@fastify/basic-auth'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.ts'
import { HttpRefusal } from '../errors.ts'

/** Who may read /metrics and /info. */
export interface MetricsCredentials { readonly username: string, readonly password: string }

/** @returns undefined when METRICS_AUTH is none */
export function credentialsOf ({ metricsAuth, metricsUsername: username, metricsPassword: password }: Config): MetricsCredentials | undefined {
  return metricsAuth === 'basic' ? { username, password } : undefined
}

/** Asks every route of this scope for credentials, where there are any. */
export async function registerMetricsAuth (fastify: FastifyInstance, credentials: MetricsCredentials | undefined): Promise<void> {
  if (credentials === undefined) return
  await fastify.register(basicAuth, {
    authenticate: { realm: 'Turnip metrics' },
    validate: async (username, password) => {
      // Both are compared, whatever the first says, so that the time tells nothing.
      const isUser = equals(username, credentials.username)
      const isPassword = equals(password, credentials.password)
      if (!isUser || !isPassword) throw new HttpRefusal(401, 'unauthorized', 'Wrong user name or password')
    }
  })
  const { turnipLimits: limits } = fastify
  fastify.addHook('onRequest', (request, reply, done) => {
    fastify.basicAuth(request, reply, refusal => {
      if (refusal === undefined) return done()
      limits.failed(request, refusal).then(done, done)
    })
  })
}

/** Compares in constant time; digests make the lengths equal. */
function equals (given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

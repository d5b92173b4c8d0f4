import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import { registerMetricsAuth, type MetricsCredentials } from './metrics-auth.ts'

/** GET /metrics, in the text format of Prometheus. */
export default async function metrics (fastify: FastifyInstance, { registry, credentials }: { registry: Registry, credentials: MetricsCredentials | undefined }): Promise<void> {
  await registerMetricsAuth(fastify, credentials)
  fastify.get('/metrics', { logLevel: 'warn' }, async (_request, reply) => {
    return await reply.type(registry.contentType).send(await registry.metrics())
  })
}

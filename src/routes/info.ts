import type { FastifyInstance } from 'fastify'
import type { Status } from '../status.ts'
import { registerMetricsAuth, type MetricsCredentials } from './metrics-auth.ts'

/** GET /info: what runs here. No secret is in it. */
export default async function info (fastify: FastifyInstance, { status, credentials }: { status: Status, credentials: MetricsCredentials | undefined }): Promise<void> {
  await registerMetricsAuth(fastify, credentials)
  fastify.get('/info', async () => status.info())
}

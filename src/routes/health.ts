import type { FastifyInstance } from 'fastify'
import type { Status } from '../status.ts'

/** GET /health and /health/live, for load balancers and orchestrators. Open to anyone: they tell nothing of anybody. */
export default async function health (fastify: FastifyInstance, { status }: { status: Status }): Promise<void> {
  fastify.get('/health', async (_request, reply) => {
    const health = status.health()
    return await reply.code(health.status === 'starting' || health.status === 'draining' ? 503 : 200).send(health)
  })

  fastify.get('/health/live', async () => ({ status: 'alive', service: 'turnip' }))
}

import type { FastifyInstance } from 'fastify'
import { IceServers } from '../ice/ice-servers.ts'
import { createAdmission } from './admission.ts'

/** GET /ice-servers: what `welcome` gives, for whoever wants it before it opens a WebSocket, or anew. */
export default async function iceServers (fastify: FastifyInstance): Promise<void> {
  const admit = createAdmission(fastify)
  const ice = new IceServers(fastify.turnipConfig)
  fastify.get('/ice-servers', async (request, reply) => {
    const { userId } = await admit(request)
    return await reply.header('cache-control', 'no-store').send(ice.grant(userId))
  })
}

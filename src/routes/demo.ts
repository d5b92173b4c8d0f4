import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'

/** Everything comes from this server; sockets and tokens may be another instance's. */
const POLICY = "default-src 'self'; connect-src *; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'"

/** GET /: the demo page. Development only. */
export default async function demo (fastify: FastifyInstance): Promise<void> {
  await fastify.register(fastifyStatic, {
    root: fileURLToPath(new URL('../../web/', import.meta.url)),
    wildcard: false,
    decorateReply: false,
    cacheControl: false,
    setHeaders: reply => {
      reply.header('content-security-policy', POLICY)
      reply.header('cache-control', 'no-cache')
    }
  })
}

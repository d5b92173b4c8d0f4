import { fileURLToPath } from 'node:url'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'

/** Everything comes from this server; sockets and tokens may be another instance's. */
const POLICY = "default-src 'self'; connect-src *; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'self'"

/** The page's files, and the client library that it loads: as built, its modules find each other at these addresses. */
const FILES = [
  { folder: '../../web/', under: '/' },
  { folder: '../../dist/client/', under: '/client/' },
  { folder: '../../dist/protocol/', under: '/protocol/', globIgnore: ['!(codes.js)'] }
]

/** GET /: the demo page. Development only. */
export default async function demo (fastify: FastifyInstance): Promise<void> {
  const { prefix } = fastify
  if (fastify.hasRoute({ method: 'GET', url: `${prefix}/` })) {
    return fastify.log.info(`no demo page: ${prefix}/ is the application's own`)
  }

  // The page's files are relative to /rtc/, not to /rtc. A relative address is right behind a proxy's prefix too.
  fastify.addHook('onRequest', async ({ url }, reply) => {
    const rest = url.slice(prefix.length)
    if (prefix !== '' && /^(\?|$)/.test(rest)) await reply.redirect(`${prefix.slice(prefix.lastIndexOf('/') + 1)}/${rest}`)
  })
  // The policy is the page's own; the rest is the host's where it has a helmet itself. HTTPS is the proxy's to promise.
  if (!fastify.hasReplyDecorator('helmet')) await fastify.register(helmet, { contentSecurityPolicy: false, strictTransportSecurity: false, xFrameOptions: { action: 'deny' } })
  for (const { folder, under, ...more } of FILES) {
    await fastify.register(fastifyStatic, {
      root: fileURLToPath(new URL(folder, import.meta.url)),
      prefix: under,
      ...more,
      wildcard: false,
      decorateReply: false,
      cacheControl: false,
      setHeaders: reply => {
        reply.header('content-security-policy', POLICY)
        reply.header('cache-control', 'no-cache')
      }
    })
  }
}

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HttpRefusal } from '../errors.ts'
import { tokenFailures } from '../protocol/codes.ts'
import { Refusal } from '../protocol/refusal.ts'
import type { Identity } from '../rooms/identity.ts'

/** How soon a client that came while this instance starts, drains or has no keys may try again, s. */
const RETRY_AFTER_S = '1'
/** The prefix of the subprotocol that carries a token: browsers can set no header on a WebSocket. */
const BEARER_PROTOCOL = 'bearer.'

/** The token of a request, from whichever of the three places has it; undefined when none has. */
function tokenOf ({ query, headers }: Pick<FastifyRequest, 'query' | 'headers'>): string | undefined {
  const { token } = query as { token?: unknown }
  if (typeof token === 'string' && token !== '') return token
  const { authorization, 'sec-websocket-protocol': protocols } = headers
  if (authorization !== undefined && /^bearer /i.test(authorization)) return authorization.slice(7).trim()
  return protocols?.split(',').map(name => name.trim()).find(name => name.startsWith(BEARER_PROTOCOL))?.slice(BEARER_PROTOCOL.length)
}

/** Whether pages of an origin may connect. No Origin (not a browser) may; `null` (a sandboxed page) is no exact origin. */
function isAllowed (origin: string | undefined, allowed: readonly string[] | '*'): boolean {
  return allowed === '*' || origin === undefined || allowed.includes(origin.toLowerCase())
}

/** Tells who asks, by the token. Rejects with HttpRefusal 503, 403, 401 or 429; Redis is asked nothing. */
export type Admit = (request: FastifyRequest) => Promise<Identity>

/** What checks those who come, for every route that takes a token. @param fastify the scope in which the plugins are */
export function createAdmission ({ turnipConfig: config, turnipAuth: auth, turnipLifecycle: lifecycle, turnipLimits: limits, turnipMetrics: { traffic } }: FastifyInstance): Admit {
  return async request => {
    if (lifecycle.phase !== 'serving') {
      throw new HttpRefusal(503, lifecycle.phase, `This instance is ${lifecycle.phase}: try again shortly`, { 'retry-after': RETRY_AFTER_S })
    }
    if (!isAllowed(request.headers.origin, config.allowedOrigins)) {
      traffic.refused.origin++
      throw new HttpRefusal(403, 'origin_forbidden', 'Pages of this origin may not connect: ALLOWED_ORIGINS does not name it')
    }
    try {
      return await auth.verify(tokenOf(request))
    } catch (error) {
      if (error instanceof Refusal && error.code === 'unavailable') throw new HttpRefusal(503, error.code, error.message, { 'retry-after': RETRY_AFTER_S })
      if (!(error instanceof Refusal && error.code in tokenFailures)) throw error
      const refusal = await limits.failed(request, new HttpRefusal(401, error.code, error.message))
      if (refusal instanceof HttpRefusal && refusal.statusCode === 429) traffic.refused.failures++
      throw refusal
    }
  }
}

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { HttpRefusal } from '../errors.ts'
import { addressesFor, type AddressOf } from '../routes/client-address.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipLimits: Limits }
}

/** What limits those who are not let in yet. */
export interface Limits {
  readonly addressOf: AddressOf
  /**
   * Counts an attempt to get in that failed. Who guesses rightly is never asked here.
   * @returns what it is to be answered: the refusal itself, or 429 when there were too many
   */
  failed (request: FastifyRequest, refusal: Error): Promise<Error>
  /** Counts a request for a token. @throws HttpRefusal 429 when there were too many */
  tokenAsked (request: FastifyRequest): Promise<void>
}

const FAILURES_WINDOW_MS = 30 * 60_000
/** Tokens that one address may ask for in development, where anybody may: a test that makes many is no attack. */
const TOKENS_PER_MINUTE = 600
/** How many addresses are remembered: an attacker who has more is not stopped by counting addresses. */
const ADDRESSES = 20_000

function createLimits (fastify: FastifyInstance, { authFailuresPerIp, realm }: Pick<Config, 'authFailuresPerIp' | 'realm'>): Limits {
  const addressOf = addressesFor(fastify.log)
  // A host's limiter may keep all counts in one place, where the name alone tells them apart.
  const keysOf = (what: string) => (request: FastifyRequest): string => `turnip:${realm}:${what}:${addressOf(request) ?? ''}`
  // Where a host's limiter keeps its counts elsewhere and that is away, nobody is limited.
  const options = { cache: ADDRESSES, skipOnError: true }
  const failures = fastify.createRateLimit({ ...options, keyGenerator: keysOf('failures'), max: authFailuresPerIp, timeWindow: FAILURES_WINDOW_MS })
  const tokens = fastify.createRateLimit({ ...options, keyGenerator: keysOf('tokens'), max: TOKENS_PER_MINUTE, timeWindow: 60_000 })

  /** @returns for how long there were too many, s */
  async function excess (limiter: typeof failures, request: FastifyRequest): Promise<number | undefined> {
    if (addressOf(request) === undefined) return undefined
    const count = await limiter(request)
    return !count.isAllowed && count.isExceeded ? Math.max(count.ttlInSeconds, 1) : undefined
  }

  return {
    addressOf,
    async failed (request, refusal) {
      const seconds = authFailuresPerIp === 0 ? undefined : await excess(failures, request)
      return seconds === undefined ? refusal : tooMany('too_many_failures', `Too many attempts from your address have failed; what was wrong with this one: ${refusal.message}`, seconds)
    },
    async tokenAsked (request) {
      const seconds = await excess(tokens, request)
      if (seconds !== undefined) throw tooMany('too_many_requests', 'Your address has asked for too many tokens', seconds)
    }
  }
}

/** A refusal of one that may come again. */
function tooMany (code: string, message: string, retryAfterS: number): HttpRefusal {
  return new HttpRefusal(429, code, message, { 'retry-after': String(retryAfterS) })
}

/** Decorates `turnipLimits`. A host's own @fastify/rate-limit serves: a second one would not be taken. */
export default fp<{ config: Config }>(async (fastify, { config }) => {
  if (!fastify.hasDecorator('createRateLimit')) await fastify.register(rateLimit, { global: false })
  fastify.decorate('turnipLimits', createLimits(fastify, config))
}, { name: 'turnip-limits' })

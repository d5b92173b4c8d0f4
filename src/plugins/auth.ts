import fastifyJwt, { type JWT } from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { MAX_TOKEN_BYTES, type TokenFailure } from '../protocol/codes.ts'
import { ROOM_NAME } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { CLOCK_TOLERANCE_S, type Identity } from '../rooms/identity.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipAuth: Auth }
}

interface Auth {
  /** Rejects with a Refusal that has a token failure's code; the token itself is in no message. */
  verify (token: string | undefined): Promise<Identity>
  /** @returns a token of this realm, for development; it ends after an hour */
  sign (claims: TokenClaims): string
}

/** What a token says of its owner. */
interface TokenClaims {
  user_id: string
  username: string
  email?: string | undefined
  role: string
  rooms?: string[] | undefined
}

/** Later than this (the year 5138) is no time but an attempt at a token that never ends, s since 1970. */
const MAX_TIME_S = 1e11
const MAX_USER_ID = 256
const MAX_ROOM_CLAIMS = 256
const TOKEN_LIFE_S = 3600

/** Verifies tokens: the signature by @fastify/jwt, every claim here, as the library lets too much through by default. */
function createAuth (jwt: JWT, { realm, tokenExpRequired }: Pick<Config, 'realm' | 'tokenExpRequired'>): Auth {
  return {
    async verify (token) {
      if (token === undefined || token === '') throw new Refusal('token_missing')
      if (token.length > MAX_TOKEN_BYTES) throw new Refusal('parse_error')
      let claims: unknown
      try {
        claims = jwt.verify(token)
      } catch (error) {
        throw new Refusal(failureOf(error), undefined, { cause: error })
      }
      return identityOf(claims, realm, tokenExpRequired)
    },
    sign (claims) {
      return jwt.sign({ ...claims, is_verified: 'true', type: 'ACCESS_TOKEN', realm }, { expiresIn: TOKEN_LIFE_S })
    }
  }
}

/** The library tells a token that cannot be read from one that does not hold by its codes. */
function failureOf (error: unknown): TokenFailure {
  const code = (error as { code?: unknown }).code
  return code === 'FAST_JWT_MALFORMED' || code === 'FAST_JWT_INVALID_TYPE' || code === 'FAST_JWT_INVALID_PAYLOAD' ? 'parse_error' : 'invalid_token'
}

function identityOf (claims: unknown, realm: string, expRequired: boolean): Identity {
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) throw new Refusal('parse_error')
  const { exp, nbf, iat, type, realm: claimed, is_verified: verified, role, email, rooms, sub, user_id: userId = sub, username = userId } = claims as Record<string, unknown>
  const now = Date.now() / 1000
  for (const [name, time] of Object.entries({ exp, nbf, iat })) {
    if (time !== undefined && !isTime(time)) throw new Refusal('invalid_claims', `The claim ${name} is not a time`)
  }
  if (exp === undefined && expRequired) throw new Refusal('invalid_claims', 'The token has no exp claim')
  if (isTime(exp) && now >= exp + CLOCK_TOLERANCE_S) throw new Refusal('token_expired')
  for (const start of [nbf, iat]) if (isTime(start) && now < start - CLOCK_TOLERANCE_S) throw new Refusal('invalid_token')
  if (type !== 'ACCESS_TOKEN') throw new Refusal('invalid_token_type')
  if (claimed === undefined || claimed === '') throw new Refusal('realm_missing')
  if (claimed !== realm) throw new Refusal('realm_mismatch')
  if (verified !== true && verified !== 'true') throw new Refusal('unverified_user')
  if (role === undefined || role === '') throw new Refusal('role_missing')
  if (typeof role !== 'string') throw new Refusal('invalid_claims', 'The claim role is not a string')
  if (typeof userId !== 'string' || userId.length < 1 || userId.length > MAX_USER_ID) {
    throw new Refusal('invalid_claims', 'The claim user_id is not a string of 1 to 256 characters')
  }
  if (typeof username !== 'string') throw new Refusal('invalid_claims', 'The claim username is not a string')
  if (email !== undefined && typeof email !== 'string') throw new Refusal('invalid_claims', 'The claim email is not a string')
  if (rooms !== undefined && !isRooms(rooms)) throw new Refusal('invalid_claims', 'The claim rooms is not a list of room names')
  return { userId, username, role, rooms, expiresAt: exp as number | undefined }
}

function isTime (value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= MAX_TIME_S
}

/** Room names, `*` being a wildcard at the end of one. */
function isRooms (value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= MAX_ROOM_CLAIMS &&
    value.every(name => typeof name === 'string' && (name === '*' || ROOM_NAME.test(name.endsWith('*') ? name.slice(0, -1) : name)))
}

/** Decorates `turnipAuth`. @fastify/jwt is registered under a namespace of our own, beside the host's. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipMetrics: metrics, turnipNonce: nonce } = fastify
  const namespace = `turnip:${nonce}`
  await fastify.register(fastifyJwt, {
    namespace,
    decoratorName: `${namespace}:user`,
    secret: config.accessSecret,
    sign: { algorithm: 'HS256' },
    // Times are checked here, with the sanity the library lacks; errors are not kept: a flood of bad tokens would fill the cache.
    verify: { algorithms: ['HS256', 'HS384', 'HS512'], ignoreExpiration: true, ignoreNotBefore: true, cache: false }
  })
  const jwt = (fastify.jwt as unknown as Record<string, JWT>)[namespace]
  if (jwt === undefined) throw new Error('@fastify/jwt has not taken its namespace')
  const auth = createAuth(jwt, config)
  fastify.decorate('turnipAuth', { sign: auth.sign, verify: token => metrics.authentication(() => auth.verify(token)) })
}, { name: 'turnip-auth', dependencies: ['turnip-config', 'turnip-metrics'] })

import { createPublicKey } from 'node:crypto'
import fastifyJwt, { type JWT } from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { MAX_TOKEN_BYTES, type TokenFailure } from '../protocol/codes.ts'
import { ROOM_NAME } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { CLOCK_TOLERANCE_S, type Identity } from '../rooms/identity.ts'
import { KeySet } from '../tokens/key-set.ts'
import { SECRET_ALGORITHMS, verifierOf, verifierOfSecret, type Verify } from '../tokens/keys.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipAuth: Auth }
}

interface Auth {
  /** Rejects with a Refusal: a token failure's code, or unavailable. The token itself is in no message. */
  verify (token: string | undefined): Promise<Identity>
  /** @returns a token of this realm, for development; it ends after an hour. Undefined without ACCESS_SECRET */
  readonly sign: ((claims: TokenClaims) => string) | undefined
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

/** What checks signatures. */
interface Verifiers {
  /** By secrets: tokens whose algorithm is one of HMAC's, and no others. */
  readonly secrets: readonly Verify[]
  /** By public keys: all other tokens. Undefined where there are none. */
  readonly keyOf: ((kid: unknown) => Verify | Promise<Verify>) | undefined
}

/** The claims of a token whose signature holds. Rejects with a Refusal. */
async function checkSignature (token: string, { secrets, keyOf }: Verifiers): Promise<unknown> {
  let verifiers = secrets
  if (keyOf !== undefined) {
    const { alg, kid } = headerOf(token)
    // This only chooses: each verifier has algorithms of its own, whatever the token says.
    if (!(SECRET_ALGORITHMS as unknown[]).includes(alg)) verifiers = [await keyOf(kid)]
  }
  let failure: unknown
  for (const verify of verifiers) {
    try {
      return verify(token)
    } catch (error) {
      failure = error
    }
  }
  throw new Refusal(failureOf(failure), undefined, { cause: failure })
}

function headerOf (token: string): { alg?: unknown, kid?: unknown } {
  try {
    const header: unknown = JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString())
    if (typeof header === 'object' && header !== null) return header
  } catch {}
  throw new Refusal('parse_error')
}

/** The library tells a token that cannot be read from one that does not hold by its codes. */
function failureOf (error: unknown): TokenFailure {
  const code = (error as { code?: unknown } | undefined)?.code
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

/**
 * Decorates `turnipAuth`. Signatures are checked by libraries, every claim here, as they let too much through by default.
 * @fastify/jwt is registered under a namespace of our own, beside the host's.
 */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipMetrics: metrics } = fastify
  const { accessSecret, accessSecretPrevious, jwtPublicKey, jwtJwksUrl, realm, tokenExpRequired } = config
  const jwt = accessSecret === '' ? undefined : await registerJwt(fastify, accessSecret)
  const secrets: Verify[] = []
  if (jwt !== undefined) secrets.push(token => jwt.verify(token))
  if (accessSecretPrevious !== '') secrets.push(verifierOfSecret(accessSecretPrevious))
  const verifiers = { secrets, keyOf: jwtJwksUrl === '' ? keyOfPem(jwtPublicKey) : keyOfSet(fastify, jwtJwksUrl) }
  fastify.decorate('turnipAuth', {
    sign: jwt && (claims => jwt.sign({ ...claims, is_verified: 'true', type: 'ACCESS_TOKEN', realm }, { expiresIn: TOKEN_LIFE_S })),
    verify: async token => await metrics.authentication(async () => {
      if (token === undefined || token === '') throw new Refusal('token_missing')
      if (token.length > MAX_TOKEN_BYTES) throw new Refusal('parse_error')
      return identityOf(await checkSignature(token, verifiers), realm, tokenExpRequired)
    })
  })
}, { name: 'turnip-auth', dependencies: ['turnip-config', 'turnip-metrics'] })

async function registerJwt (fastify: FastifyInstance, secret: string): Promise<JWT> {
  const namespace = `turnip:${fastify.turnipNonce}`
  await fastify.register(fastifyJwt, {
    namespace,
    decoratorName: `${namespace}:user`,
    secret,
    sign: { algorithm: 'HS256' },
    // Times are checked here, with the sanity the library lacks; errors are not kept: a flood of bad tokens would fill the cache.
    verify: { algorithms: SECRET_ALGORITHMS, ignoreExpiration: true, ignoreNotBefore: true, cache: false }
  })
  const jwt = (fastify.jwt as unknown as Record<string, JWT>)[namespace]
  if (jwt === undefined) throw new Error('@fastify/jwt has not taken its namespace')
  return jwt
}

function keyOfPem (pem: string): Verifiers['keyOf'] {
  if (pem === '') return undefined
  const verify = verifierOf(createPublicKey(pem))
  return () => verify
}

/** Starts to fetch the keys and waits for none of them: a provider that is away keeps nobody from starting. */
function keyOfSet (fastify: FastifyInstance, url: string): Verifiers['keyOf'] {
  const keys = new KeySet(url, fastify.log)
  fastify.addHook('onReady', async () => { void keys.fetch() })
  fastify.addHook('onClose', async () => { keys.stop() })
  return async kid => await keys.verifier(kid)
}

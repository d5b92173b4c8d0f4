/** The public keys that tokens are checked with: which algorithms each stands for, and the check itself. */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { createVerifier, type Algorithm } from 'fast-jwt'

/** Gives the claims of a token whose signature holds. Throws otherwise; the times of a token are not looked at. */
export type Verify = (token: string) => unknown

/** What a secret checks; a public key never does. */
export const SECRET_ALGORITHMS: Algorithm[] = ['HS256', 'HS384', 'HS512']

const RSA_ALGORITHMS: Algorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
/** Shorter keys can be factored, or soon: RFC 7518 §3.3. */
const MIN_RSA_BITS = 2048
const CURVE_ALGORITHMS: Readonly<Record<string, Algorithm>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }

/** Whether a text is, or holds, a public key: as a secret it would let everybody sign. */
export const PUBLIC_PEM = /-----BEGIN (?:[A-Z0-9]+ )*(?:PUBLIC KEY|CERTIFICATE)-----/

/**
 * The key in a PEM, whose ends of lines may be written `\n`, as in a line of .env.
 * @returns undefined when it is none that checks tokens: a private key, or one too weak, is none
 */
export function parsePublicKey (pem: string): KeyObject | undefined {
  const text = pem.replaceAll('\\n', '\n')
  if (!PUBLIC_PEM.test(text) || text.includes('PRIVATE KEY')) return undefined
  try {
    const key = createPublicKey(text)
    return algorithmsOf(key).length > 0 ? key : undefined
  } catch {
    return undefined
  }
}

/**
 * The check that an entry of a JSON Web Key Set stands for.
 * @returns undefined for one that signs nothing: for encryption, of another kind, too weak, broken
 */
export function verifierOfJwk (jwk: JsonWebKey): Verify | undefined {
  const { use = 'sig', key_ops: operations = ['verify'], alg } = jwk
  if (use !== 'sig' || !Array.isArray(operations) || !operations.includes('verify')) return undefined
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    const algorithms = algorithmsOf(key).filter(name => alg === undefined || name === alg)
    return algorithms.length > 0 ? verifierOf(key, algorithms) : undefined
  } catch {
    return undefined
  }
}

/** The check by a public key. */
export function verifierOf (key: KeyObject, algorithms = algorithmsOf(key)): Verify {
  return createVerify(key.export({ type: 'spki', format: 'pem' }).toString(), algorithms)
}

/** The check by a secret. */
export function verifierOfSecret (secret: string): Verify {
  return createVerify(secret, SECRET_ALGORITHMS)
}

function createVerify (key: string, algorithms: Algorithm[]): Verify {
  return createVerifier({ key, algorithms, ignoreExpiration: true, ignoreNotBefore: true, cache: false })
}

/** The algorithms of a key. They come from the key and never from a token, or a public key would serve as an HMAC secret. */
function algorithmsOf ({ asymmetricKeyType: type, asymmetricKeyDetails: { modulusLength = 0, namedCurve = '' } = {} }: KeyObject): Algorithm[] {
  if (type === 'rsa' && modulusLength >= MIN_RSA_BITS) return RSA_ALGORITHMS
  if (type === 'ed25519') return ['EdDSA']
  const algorithm = type === 'ec' ? CURVE_ALGORITHMS[namedCurve] : undefined
  return algorithm === undefined ? [] : [algorithm]
}

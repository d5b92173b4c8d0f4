import { createHmac, timingSafeEqual } from 'node:crypto'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'

/** What a session says of itself. */
export interface SessionClaim {
  /** Its name at the instance that holds it. */
  readonly key: string
  /** The instance that gave it: its nonce. */
  readonly instance: string
  readonly connectionId: string
}

/** Far longer than any that was given: a long one is not worth a look. */
const MOST_CHARACTERS = 1024

const claims = Compile(Type.Tuple([Type.String({ pattern: '^[\\w-]{22}$' }), Type.String(), Type.String()]))

/**
 * Sessions as clients hold them: what they say, authenticated for the user they were given to. A client can do nothing
 * with them but give them back.
 */
export class SessionTokens {
  readonly #keys: Buffer[]

  /**
   * @param secrets what sessions are signed with, the first; the others still verify. Instances of one cluster share them
   * @param realm a session of one realm is none in another
   */
  constructor (secrets: readonly string[], realm: string) {
    this.#keys = secrets.map(secret => createHmac('sha256', secret).update(`turnip session ${realm}`).digest())
  }

  issue ({ key, instance, connectionId }: SessionClaim, userId: string): string {
    const text = Buffer.from(JSON.stringify([key, instance, connectionId])).toString('base64url')
    const [signer = Buffer.alloc(0)] = this.#keys
    return `${text}.${seal(signer, text, userId).toString('base64url')}`
  }

  /** @returns what a session says; undefined when it was not given by this cluster to this user */
  read (session: string, userId: string): SessionClaim | undefined {
    if (session.length > MOST_CHARACTERS) return undefined
    const [text = '', mac = ''] = session.split('.')
    const shown = Buffer.from(mac, 'base64url')
    const isGenuine = this.#keys.some(key => {
      const due = seal(key, text, userId)
      return shown.length === due.length && timingSafeEqual(shown, due)
    })
    if (!isGenuine) return undefined
    const claim: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    if (!claims.Check(claim)) return undefined
    const [key, instance, connectionId] = claim
    return { key, instance, connectionId }
  }
}

function seal (key: Buffer, text: string, userId: string): Buffer {
  return createHmac('sha256', key).update(`${text}.${userId}`).digest()
}

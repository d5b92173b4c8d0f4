import type { JsonWebKey } from 'node:crypto'
import { Refusal } from '../protocol/refusal.ts'
import { verifierOfJwk, type Verify } from './keys.ts'

const MAX_BYTES = 65_536
const MAX_KEYS = 100

/** Times of a key set, ms. */
export interface KeySetTimes {
  /** How old the keys may become, so that one that was taken away stops opening. */
  readonly refresh: number
  /** The least time between two fetches: an attacker who invents key ids must not have us ask for each. */
  readonly pause: number
  readonly deadline: number
}

const TIMES: KeySetTimes = { refresh: 600_000, pause: 5000, deadline: 3000 }

/** The part of a logger that is needed here. */
interface KeySetLog {
  info (message: string): void
  warn (context: object, message: string): void
}

/**
 * Whether keys may be fetched from there: over TLS, or from this machine, as whoever can change them on the way can sign.
 * No password in it: `fetch` takes none, and says the address when it refuses.
 */
export function isKeySetUrl (text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password } = new URL(text)
  const isSafe = protocol === 'https:' || (protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname))
  return isSafe && username === '' && password === ''
}

/**
 * The keys of an identity provider (a JSON Web Key Set, RFC 7517), by key id. Known ones serve at once, whether the
 * provider answers or not; they are replaced when it does.
 */
export class KeySet {
  readonly #url: string
  readonly #log: KeySetLog
  readonly #times: KeySetTimes
  #keys: ReadonlyMap<string, Verify> = new Map()
  #fetching: Promise<void> | undefined
  #fetchedAt = -Infinity
  #isAway = false
  #isStopped = false
  #abort = new AbortController()
  #timer: NodeJS.Timeout | undefined

  constructor (url: string, log: KeySetLog, times: Partial<KeySetTimes> = {}) {
    this.#url = url
    this.#log = log
    this.#times = { ...TIMES, ...times }
  }

  /** Fetches, now and from time to time, until it is stopped. Never rejects: what goes wrong is logged. */
  async fetch (): Promise<void> {
    this.#fetching ??= this.#fetch()
    await this.#fetching
  }

  stop (): void {
    this.#isStopped = true
    this.#abort.abort()
    clearTimeout(this.#timer)
  }

  /**
   * The check of tokens with this key id; of those without one, where there is but one key.
   * Rejects with a Refusal: invalid_token, or unavailable when the provider could not be asked.
   */
  async verifier (kid: unknown): Promise<Verify> {
    let found = this.#find(kid)
    if (found === undefined && (this.#fetching !== undefined || performance.now() >= this.#fetchedAt + this.#times.pause)) {
      await this.fetch()
      found = this.#find(kid)
    }
    if (found !== undefined) return found
    if (this.#isAway) throw new Refusal('unavailable', 'The keys that check tokens cannot be fetched at the moment: try again shortly')
    throw new Refusal('invalid_token')
  }

  #find (kid: unknown): Verify | undefined {
    if (typeof kid === 'string') return this.#keys.get(kid)
    const [only, second] = this.#keys.values()
    return kid === undefined && second === undefined ? only : undefined
  }

  async #fetch (): Promise<void> {
    const { refresh, pause, deadline } = this.#times
    clearTimeout(this.#timer)
    this.#fetchedAt = performance.now()
    const wasAway = this.#isAway
    const abort = this.#abort = new AbortController()
    const limit = setTimeout(() => { abort.abort(new Error(`no answer within ${deadline} ms`)) }, deadline)
    try {
      this.#keys = keysOf(await download(this.#url, abort.signal))
      this.#isAway = false
      if (wasAway) this.#log.info('the keys of JWT_JWKS_URL were fetched')
    } catch (error) {
      this.#isAway = true
      if (!wasAway && !this.#isStopped) this.#log.warn({ err: error }, `the keys of JWT_JWKS_URL cannot be fetched: ${this.#keys.size} known ones go on, tokens with others are answered unavailable`)
    } finally {
      this.#fetching = undefined
      clearTimeout(limit)
    }
    if (this.#isStopped) return
    this.#timer = setTimeout(() => { void this.fetch() }, this.#isAway ? pause : refresh)
    this.#timer.unref()
  }
}

async function download (url: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`the answer is ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) { // a throw in here ends the connection
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`the answer has more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString())
}

/** @throws Error when there is none: a page of another kind must not take the known ones away */
function keysOf (set: unknown): Map<string, Verify> {
  const entries = (set as { keys?: unknown } | null)?.keys
  if (!Array.isArray(entries)) throw new Error('the answer is no JSON Web Key Set')
  const keys = new Map<string, Verify>()
  for (const entry of entries.slice(0, MAX_KEYS) as Array<JsonWebKey | null>) {
    const kid = entry?.kid ?? ''
    const verify = entry === null ? undefined : verifierOfJwk(entry)
    if (verify !== undefined && typeof kid === 'string' && !keys.has(kid)) keys.set(kid, verify)
  }
  if (keys.size === 0) throw new Error('the answer has no key that checks tokens')
  return keys
}

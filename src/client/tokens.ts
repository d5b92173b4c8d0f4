/** Where tokens come from, and when the next one is due. */
import type { TokenSource } from './options.ts'

/** How long before its end a token is replaced, ms; a tenth of its life where that is less. */
const EARLY_MS = 60_000
/** How long fetching one may take, ms. */
const FETCH_MS = 10_000
/** Between two tries to replace one, ms; more where there is more time. */
const RETRY_MS = 1000
/** What setTimeout takes; a longer time would be none. */
const LONGEST_MS = 2 ** 31 - 1

export class Tokens {
  readonly #source: TokenSource
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor (source: TokenSource) {
    this.#source = source
  }

  get areRenewable (): boolean {
    return typeof this.#source === 'function'
  }

  /** @throws whatever the function throws; it may not take for ever */
  async next (): Promise<string> {
    if (typeof this.#source !== 'function') return this.#source
    let timer
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => { reject(new Error(`no token came within ${FETCH_MS / 1000} s`)) }, FETCH_MS)
    })
    try {
      return await Promise.race([this.#source(), late])
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * Replaces a token before it ends, and its successors, until `stop`.
   * @param refresh brings a new one to the server; what it throws is told to `failed`, and tried again
   * @param leastMs the function may give the same one again, until it thinks that time has come
   */
  renew (token: string, refresh: (token: string) => Promise<unknown>, failed: (error: unknown) => void, leastMs = 0): void {
    this.stop()
    const end = endOf(token)
    if (!this.areRenewable || end === undefined) return
    const ms = Math.max(end.leftMs - Math.min(EARLY_MS, end.lifeMs / 10), leastMs)
    const timer = setTimeout(async () => {
      let next = token
      try {
        const fetched = await this.next()
        if (timer === this.#timer) await refresh(fetched)
        next = fetched
      } catch (error) {
        if (timer === this.#timer) failed(error)
      }
      if (timer === this.#timer) this.renew(next, refresh, failed, Math.max(RETRY_MS, (end.leftMs - ms) / 2))
    }, Math.min(ms, LONGEST_MS))
    this.#timer = timer
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

/** When a token ends, without a look at its signature: that is the server's business. Undefined when it never does, or is none. */
function endOf (token: string): { leftMs: number, lifeMs: number } | undefined {
  try {
    const { exp, iat } = JSON.parse(atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))) as { exp?: number, iat?: number }
    if (typeof exp !== 'number') return undefined
    const left = exp * 1000 - Date.now()
    const life = typeof iat === 'number' ? (exp - iat) * 1000 : left
    // the server takes a token that is long past by our clock: then it is our clock that is wrong
    return { leftMs: left > 0 ? left : life, lifeMs: Math.max(life, 0) }
  } catch {
    return undefined
  }
}

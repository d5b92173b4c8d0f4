import { wsAddress } from './address.ts'
import { Heartbeat } from './heartbeat.ts'
import type { SignalingOptions, WebSocketClass, WebSocketLike } from './options.ts'
import { setback, whyClosed, whyRefused, type Setback } from './setback.ts'
import type { SignalingError } from './signaling-error.ts'
import { Tokens } from './tokens.ts'

/** A connection that lived this long was a good one: the pauses after it begin anew, ms. */
const STEADY_MS = 1000

/** Ends a socket of ours that is no good any more. The server takes 1000 for the end of the session, and this for an accident. */
const BROKEN = 4000

export interface LinkListener {
  /** What the next attempt says in its query. */
  query: () => Record<string, string>
  frame: (text: string) => void
  ping: () => void
  refresh: (token: string) => Promise<unknown>
  notRefreshed: (error: unknown) => void
  /** The connection, or an attempt, has failed; the next attempt comes by itself. */
  lost: (cause: string, retryInMs: number) => void
  /** ... and no other comes. */
  over: (error: SignalingError) => void
}

export interface LinkOptions {
  base: URL
  token: SignalingOptions['token']
  WebSocket: WebSocketClass
  fetch: typeof globalThis.fetch
  backoffMs: number
  maxBackoffMs: number
  connectTimeoutMs: number
}

/** A socket that comes back. It knows tokens, close codes and liveness, and nothing of rooms. */
export class Link {
  readonly #options: LinkOptions
  readonly #on: LinkListener
  readonly #tokens: Tokens
  readonly #heartbeat: Heartbeat
  #socket: WebSocketLike | undefined
  #token = ''
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Grows with each attempt and each end: what an older one still has under way is void. */
  #run = 0
  #attempts = 0
  /** When the server has said welcome; 0: it has not. */
  #upAt = 0
  #wasUp = false
  #pauseMs = 0
  /** Until then the server does not want to see us. */
  #notBefore = 0
  #isOffline = false
  /** A token was past its end: what fetches them may not have noticed yet, once. */
  #hadExpired = false

  constructor (options: LinkOptions, on: LinkListener) {
    this.#options = options
    this.#on = on
    this.#tokens = new Tokens(options.token)
    this.#heartbeat = new Heartbeat(on.ping, () => { this.#broken('The server has gone silent') })
  }

  /** @param isNew whether this is the first time: then what cannot be is told at once */
  start (isNew: boolean): void {
    if (isNew) this.#wasUp = this.#hadExpired = false
    this.#drop(BROKEN)
    this.#attempts = this.#notBefore = 0
    void this.#attempt()
  }

  /** Ends it; nothing is told after that. */
  stop (): void {
    this.#drop(1000)
  }

  /** The server has said welcome. @param intervalMs between its pings */
  up (intervalMs: number): void {
    if (this.#socket === undefined) return // whoever heard of the welcome has ended it
    clearTimeout(this.#timer)
    this.#upAt = Date.now()
    this.#wasUp = true
    this.#hadExpired = false
    this.#isOffline = false
    this.#heartbeat.start(intervalMs)
    this.#tokens.renew(this.#token, this.#on.refresh, this.#on.notRefreshed)
  }

  send (text: string): void {
    this.#socket?.send(text)
  }

  /** The server goes away, and wants to be left alone for that long. */
  goaway (pauseMs: number): void {
    this.#pauseMs = pauseMs
  }

  /** No attempt can succeed until `online`, most likely. */
  offline (): void {
    this.#isOffline = true
  }

  /** There is reason to think that an attempt would succeed now, or that a connection has died unnoticed. */
  hurry (): void {
    this.#isOffline = false
    if (this.#upAt > 0) return this.#heartbeat.doubt()
    if (Date.now() < this.#notBefore) return
    this.#attempts = 0
    this.#drop(BROKEN)
    void this.#attempt()
  }

  /** How long to wait before coming back: full jitter, as many clients lose one server in one moment. */
  backoff (attempt: number): number {
    const { backoffMs, maxBackoffMs } = this.#options
    return Math.random() * Math.min(maxBackoffMs, backoffMs * 2 ** attempt)
  }

  async #attempt (): Promise<void> {
    const { base, WebSocket, fetch, connectTimeoutMs } = this.#options
    const run = ++this.#run
    const isCurrent = (): boolean => run === this.#run
    let socket: WebSocketLike
    let token: string
    try {
      token = await this.#tokens.next()
      if (!isCurrent()) return
      const url = wsAddress(base, this.#on.query())
      url.protocol = base.protocol.replace('http', 'ws')
      // Not in the query: the logs of proxies would keep it. A token with other characters than a JWT's throws here.
      socket = new WebSocket(url.href, ['turnip', `bearer.${token}`])
    } catch (error) {
      const again = this.#wasUp && this.#tokens.areRenewable
      if (isCurrent()) this.#failed(setback('token_failed', `There is no token to connect with: ${error instanceof Error ? error.message : String(error)}`, { again, cause: error }))
      return
    }
    this.#socket = socket
    this.#token = token
    this.#pauseMs = 0
    this.#timer = setTimeout(() => { this.#broken(`${base.host} does not answer`) }, connectTimeoutMs)
    let isOpen = false
    let isAsking = false
    socket.addEventListener('open', () => { isOpen = true })
    socket.addEventListener('message', ({ data }) => {
      if (!isCurrent()) return
      this.#heartbeat.heard()
      this.#on.frame(String(data))
    })
    const ended = async (event: { code: number, reason: string }): Promise<void> => {
      if (!isCurrent() || isAsking) return
      isAsking = true
      const why = isOpen
        ? whyClosed(event, this.#tokens.areRenewable, this.#pauseMs)
        : await whyRefused(fetch, wsAddress(base), token, this.#wasUp, connectTimeoutMs)
      if (isCurrent()) this.#failed(why)
    }
    socket.addEventListener('close', event => { void ended(event) })
    // Some say no more than this of a connection that did not open.
    socket.addEventListener('error', () => { if (!isOpen) void ended({ code: 1006, reason: '' }) })
  }

  #broken (message: string): void {
    this.#failed(setback('connection_lost', message, { again: true, pauseMs: this.#pauseMs }))
  }

  #failed ({ error, again, pauseMs }: Setback): void {
    if (error.code === 'token_expired' && this.#tokens.areRenewable && !this.#hadExpired) again = this.#hadExpired = true
    if (this.#upAt > 0 && Date.now() - this.#upAt > STEADY_MS) this.#attempts = 0
    this.#drop(BROKEN)
    if (!again) return this.#on.over(error)
    const waitMs = pauseMs + (this.#isOffline ? this.#options.maxBackoffMs : this.backoff(this.#attempts++))
    this.#notBefore = Date.now() + pauseMs
    this.#timer = setTimeout(() => { void this.#attempt() }, waitMs)
    this.#on.lost(error.message, Math.round(waitMs))
  }

  #drop (code: number): void {
    this.#run++
    clearTimeout(this.#timer)
    this.#heartbeat.stop()
    this.#tokens.stop()
    this.#upAt = 0
    this.#socket?.close(code)
    this.#socket = undefined
  }
}

import { Refusal, fetchToken, socketUrl, whyRefused } from './endpoint.js'

const BACKOFF_BASE_MS = 500
const BACKOFF_CAP_MS = 10_000
/** A connection that lived this long was a good one: the next drop starts counting anew. */
const STEADY_MS = 5_000
/** How long a socket may take from its opening to `welcome`. */
const WELCOME_MS = 10_000
const FLOOD_PAUSE_MS = 5_000
/** How long before its end a token is replaced. */
const REFRESH_EARLY_MS = 60_000

/** Close codes after which coming back is of no use; after all others the page comes back. */
const FINAL = new Map([
  [1000, 'The server closed the connection.'],
  [1002, 'The server could not read what this page sent.'],
  [1003, 'The server could not read what this page sent.'],
  [1007, 'The server could not read what this page sent.'],
  [1009, 'This page sent more than the server takes.'],
  [4403, 'You were removed from the server.'],
  [4409, 'A newer connection took the place of this one.']
])

/**
 * Full jitter: many clients that lost one server do not come back in one moment.
 * @param {number} attempt 0 for the first
 * @param {number} floor the least, where the server named one
 * @returns {number} milliseconds
 */
export function backoff (attempt, floor = 0) {
  return floor + Math.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** attempt)
}

/**
 * A socket that comes back. It knows tokens, closing codes and liveness, and nothing of rooms.
 * Each attempt takes a new token, so an expired one (4401) is no special case.
 */
export class Signaling {
  #base
  #on
  #identity = null
  #socket = null
  #timer = null
  #renewal = null
  #attempts = 0
  #welcomedAt = 0
  #everWelcomed = false
  #pause = 0
  #silent = false
  /** Grows with every connect and close: what an older run still has under way is void. */
  #run = 0

  /**
   * @param {URL} base what the server's routes are relative to
   * @param {object} on
   * @param {(frame: object) => void} on.frame every frame received, `welcome` too, `pong` not
   * @param {(frame: object) => void} on.sent every frame sent, `ping` not
   * @param {(text: string, waitMs: number) => void} on.lost the connection is gone and will be tried again
   * @param {(text: string) => void} on.stopped the connection is gone for good
   */
  constructor (base, on) {
    this.#base = base
    this.#on = on
  }

  /** @returns {boolean} frames can be sent: `welcome` was received */
  get open () {
    return this.#welcomedAt > 0
  }

  /** @param {{ username: string, user_id: string }} identity what the token is asked for */
  connect (identity) {
    this.close()
    this.#identity = identity
    this.#attempts = 0
    this.#everWelcomed = false
    this.#attempt()
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it was sent
   */
  send (frame) {
    if (!this.open) return false
    this.#socket.send(JSON.stringify(frame))
    this.#on.sent(frame)
    return true
  }

  /** Leaves for good; nothing is reported after it. A page may not close with 1001, so it is 1000. */
  close () {
    this.#run++
    this.#drop()
  }

  #drop () {
    clearTimeout(this.#timer)
    clearTimeout(this.#renewal)
    this.#welcomedAt = 0
    const socket = this.#socket
    this.#socket = null
    socket?.close(1000)
  }

  async #attempt () {
    const run = ++this.#run
    let token
    try {
      token = await fetchToken(this.#base, this.#identity)
    } catch (error) {
      if (run === this.#run) this.#failed(error)
      return
    }
    if (run !== this.#run) return
    const socket = new WebSocket(socketUrl(this.#base, token))
    this.#socket = socket
    this.#pause = 0
    this.#timer = setTimeout(() => this.#gone(new Refusal('The server does not answer.', { again: true })), WELCOME_MS)
    let opened = false
    socket.onopen = () => {
      opened = true
      this.#renew(socket, token)
    }
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#received(event.data)
    }
    socket.onclose = async (event) => {
      if (socket !== this.#socket) return
      const refusal = opened ? this.#closed(event) : await whyRefused(this.#base, token)
      if (socket === this.#socket) this.#gone(refusal)
    }
  }

  /** The end of a token is the end of its connection (4401): a minute before, the page goes on under a new one. */
  #renew (socket, token) {
    const { exp } = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')))
    this.#renewal = setTimeout(async () => {
      const next = await fetchToken(this.#base, this.#identity).catch(() => null) // without one, the page comes back after the close
      if (next === null || socket !== this.#socket || !this.open) return
      socket.send(JSON.stringify({ type: 'refresh', token: next }))
      this.#on.sent({ type: 'refresh' })
      this.#renew(socket, next)
    }, Math.max(exp * 1000 - Date.now() - REFRESH_EARLY_MS, 1000))
  }

  #received (text) {
    this.#silent = false
    const frame = JSON.parse(text)
    if (frame.type === 'welcome') {
      this.#welcomedAt = performance.now()
      this.#everWelcomed = true
      this.#watch(frame.data.ping_interval_ms)
    }
    if (frame.type === 'goaway') this.#pause = frame.data?.reconnect_after_ms ?? 0
    if (frame.type !== 'pong') this.#on.frame(frame)
  }

  /** Pings of the server are not visible to a page, so the page asks itself; silence over one whole interval is the end. */
  #watch (intervalMs = 25_000) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (this.#silent) return this.#gone(new Refusal('The connection went silent.', { again: true }))
      this.#silent = true
      this.#socket.send('{"type":"ping"}')
      this.#watch(intervalMs)
    }, Math.max(intervalMs, 5_000))
  }

  #closed ({ code, reason }) {
    const said = reason ? `${code}, ${reason}` : String(code)
    if (FINAL.has(code)) return new Refusal(`${FINAL.get(code)} (${said})`)
    return new Refusal(`Connection closed (${said}).`, { again: true, retryAfterMs: code === 1008 ? FLOOD_PAUSE_MS : this.#pause })
  }

  #gone (refusal) {
    if (this.open && performance.now() - this.#welcomedAt > STEADY_MS) this.#attempts = 0
    this.#drop()
    this.#failed(refusal)
  }

  /** A first attempt that finds nobody is told at once; one that was told to wait, or had been in before, goes on. */
  #failed (error) {
    const again = error.again && (this.#everWelcomed || error.retryAfterMs > 0)
    if (!again) return this.#on.stopped(error.message)
    const wait = backoff(this.#attempts++, error.retryAfterMs)
    this.#timer = setTimeout(() => this.#attempt(), wait)
    this.#on.lost(error.message, Math.round(wait))
  }
}

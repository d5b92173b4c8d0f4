/** The server's own pings are invisible to a page, so the client asks too, and takes silence for the end. */

/** How long an answer may take, ms; less where the server pings more often. */
const PATIENCE_MS = 10_000
/** ... when there is a reason to doubt: the network is back, the page is looked at again. */
const DOUBT_MS = 2000
/** A timer that is late by this has slept with its page, and the answer may still stand behind it, ms. */
const LATE_MS = 1000

export class Heartbeat {
  readonly #ping: () => void
  readonly #silent: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #intervalMs = 0
  #heard = false

  /** @param ping sends one; @param silent is called once, when nothing has come for too long */
  constructor (ping: () => void, silent: () => void) {
    this.#ping = ping
    this.#silent = silent
  }

  start (intervalMs: number): void {
    this.stop()
    this.#intervalMs = intervalMs
    this.#timer = setTimeout(() => { this.#ask(Math.min(intervalMs, PATIENCE_MS)) }, intervalMs)
  }

  stop (): void {
    clearTimeout(this.#timer)
  }

  /** Something has come, whatever it was. */
  heard (): void {
    this.#heard = true
  }

  /** Asks at once, and waits for a short time only. */
  doubt (): void {
    this.#ask(Math.min(this.#intervalMs, DOUBT_MS))
  }

  #ask (patienceMs: number): void {
    this.stop()
    this.#heard = false
    this.#ping()
    const due = Date.now() + patienceMs
    this.#timer = setTimeout(() => {
      if (this.#heard) this.start(this.#intervalMs)
      else if (Date.now() - due > LATE_MS) this.#ask(patienceMs)
      else this.#silent()
    }, patienceMs)
  }
}

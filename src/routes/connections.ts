import { setTimeout as delay } from 'node:timers/promises'
import type { Frame } from '../protocol/frame.ts'

/** How often connections are looked after, ms. */
const SWEEP_MS = 1000
/** Clients that are sent away are told to wait at least this long, ms: another instance has to be there for them. */
const RECONNECT_AFTER_MS = 1000
/** The more there are, the longer the time over which they come back: they must not all come at once. ms a client, and at most. */
const RECONNECT_SPREAD_MS = 5
const RECONNECT_SPREAD_LIMIT_MS = 30_000

/** Clients are sent away so many at a time, with a pause between, ms; the last at half the time there is at the latest. */
const DRAIN_BATCH = 50
const DRAIN_PAUSE_MS = 20

/** What is kept here. */
export interface Tended {
  send (frame: Frame): void
  /** Looks after pings, pongs and expiry. @param now a clock in ms that stands still while this process does */
  beat (now: number): void
  /** Tells the client that this instance goes away, and closes. Resolves when the socket is closed on both sides. */
  goAway (reason: string, reconnectAfterMs: number): Promise<void>
  /** Ends it without asking. */
  terminate (): void
}

/**
 * The connections of an instance, with one timer for all of them. Its clock advances by at most two sweeps at a time:
 * after this process was frozen or busy, its clients get the time they need to answer, as the silence was ours.
 */
export class Connections {
  readonly #open = new Set<Tended>()
  #now = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | undefined

  get size (): number { return this.#open.size }

  /** ms since some moment; see above. */
  get now (): number { return this.#now }

  add (connection: Tended): void {
    this.#open.add(connection)
    this.#timer ??= setInterval(() => { this.#sweep() }, SWEEP_MS).unref()
  }

  delete (connection: Tended): void {
    this.#open.delete(connection)
    if (this.#open.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Tells every client. */
  broadcast (frame: Frame): void {
    for (const connection of this.#open) connection.send(frame)
  }

  /** Sends every client away. Resolves when all are gone; those that do not go within the limit are cut off. */
  async drain (limitMs: number): Promise<void> {
    const leaving = [...this.#open]
    const spread = Math.min(leaving.length * RECONNECT_SPREAD_MS, RECONNECT_SPREAD_LIMIT_MS)
    const deadline = new AbortController()
    const timeUp = delay(limitMs, undefined, { signal: deadline.signal }).catch(() => {})
    const gone: Array<Promise<void>> = []
    const pauseMs = Math.min(DRAIN_PAUSE_MS, limitMs / 2 / (leaving.length / DRAIN_BATCH))
    for (const [i, connection] of leaving.entries()) {
      if (i > 0 && i % DRAIN_BATCH === 0) await delay(pauseMs)
      gone.push(connection.goAway('restart', RECONNECT_AFTER_MS + Math.round(Math.random() * spread)))
    }
    await Promise.race([Promise.all(gone), timeUp])
    deadline.abort()
    for (const connection of leaving) connection.terminate()
  }

  #sweep (): void {
    const now = performance.now()
    this.#now += Math.min(now - this.#last, 2 * SWEEP_MS)
    this.#last = now
    for (const connection of this.#open) connection.beat(this.#now)
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import type { Frame } from '../protocol/frame.ts'

/** How often connections are looked after, ms. */
const SWEEP_MS = 1000
/** Clients that are sent away are told to wait at least this long, ms: another instance has to be there for them. */
const RECONNECT_AFTER_MS = 1000
/** ... and this much longer at most, each as chance will have it: they must not all come at once. */
const RECONNECT_SPREAD_MS = 500
const RECONNECT_SPREAD_LIMIT_MS = 30_000

/**
 * Time a client that the instances they go to get, ms. Who waits for its turn is served meanwhile, and who was sent away
 * is nowhere: so turns are spread over as much of it as half the drain has, and waits after them over the rest.
 */
const DRAIN_PACE_MS = 2
/** How often the next ones are sent away, ms. */
const DRAIN_STEP_MS = 20

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
    const wantedMs = leaving.length * DRAIN_PACE_MS
    const turnsMs = Math.min(wantedMs, limitMs / 2)
    const spreadMs = Math.min(RECONNECT_SPREAD_MS + wantedMs - turnsMs, RECONNECT_SPREAD_LIMIT_MS)
    const deadline = new AbortController()
    const timeUp = delay(limitMs, undefined, { signal: deadline.signal }).catch(() => {})
    const gone: Array<Promise<void>> = []
    const start = performance.now()
    for (const [i, connection] of leaving.entries()) {
      // By the clock, not by steps: timers that come late must not make the drain longer. None is open: all went by themselves.
      while (this.#open.size > 0 && performance.now() - start < turnsMs * i / leaving.length) await delay(DRAIN_STEP_MS)
      gone.push(connection.goAway('restart', RECONNECT_AFTER_MS + Math.round(Math.random() * spreadMs)))
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

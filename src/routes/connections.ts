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
  /** Ends its line without asking. */
  terminate (): void
  /** Is over: nobody comes back to it. */
  end (): void
}

/**
 * The connections of an instance, with one timer for all of them. Its clock advances by at most two sweeps at a time:
 * after this process was frozen or busy, its clients get the time they need to answer, as the silence was ours.
 */
export class Connections {
  readonly #open = new Set<Tended>()
  /** Those without a line, whose clients may come back, and the ends of their time. */
  readonly #kept = new Map<Tended, { readonly userId: string, readonly timer: NodeJS.Timeout }>()
  readonly #keptOf = new Map<string, number>()
  readonly #mostKept: number
  #onNoneKept: (() => void) | undefined
  #isDrained = false
  #isDraining = false
  #now = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | undefined

  /** @param mostKept the most that are kept for one user, who could fill memory by coming and going; 0 for no limit */
  constructor (mostKept = 0) {
    this.#mostKept = mostKept
  }

  /** How many are open. */
  get size (): number { return this.#open.size }
  get kept (): number { return this.#kept.size }
  /** Whether all were sent away, and nobody is kept any more. */
  get isDrained (): boolean { return this.#isDrained }

  /** ms since some moment; see above. */
  get now (): number { return this.#now }

  add (connection: Tended): void {
    this.#unkeep(connection)
    this.#open.add(connection)
    this.#timer ??= setInterval(() => { this.#sweep() }, SWEEP_MS).unref()
    if (this.#isDraining) void connection.goAway('restart', RECONNECT_AFTER_MS) // its session was on its way here: nobody else ends its socket
  }

  /** A line has ended, and its client may come back within this time. Then it is over, or at once where too many are kept for its user. */
  keep (connection: Tended, userId: string, ms: number): void {
    this.delete(connection)
    const count = this.#keptOf.get(userId) ?? 0
    if (this.#mostKept > 0 && count >= this.#mostKept) return connection.end()
    this.#keptOf.set(userId, count + 1)
    this.#kept.set(connection, { userId, timer: setTimeout(() => { connection.end() }, ms).unref() })
  }

  delete (connection: Tended): void {
    this.#unkeep(connection)
    this.#open.delete(connection)
    if (this.#open.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Tells every client, and those that may come back. */
  broadcast (frame: Frame): void {
    for (const connection of this.#open) connection.send(frame)
    for (const connection of this.#kept.keys()) connection.send(frame)
  }

  /**
   * Sends every client away. Resolves when all are gone; those that do not go within the limit are cut off.
   * @param othersServe whether a client can go on elsewhere: then those that may are waited for, as this instance hands them over
   */
  async drain (limitMs: number, othersServe = false): Promise<void> {
    this.#isDraining = true
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
    for (const connection of leaving) connection.terminate()
    const end = start + limitMs
    if (othersServe) {
      while (this.#kept.size > 0 && performance.now() < end) {
        await Promise.race([new Promise<void>(resolve => { this.#onNoneKept = resolve }), timeUp])
      }
    }
    deadline.abort()
    this.#isDrained = true
    for (const connection of this.#kept.keys()) connection.end()
  }

  #unkeep (connection: Tended): void {
    const kept = this.#kept.get(connection)
    if (kept === undefined) return
    clearTimeout(kept.timer)
    this.#kept.delete(connection)
    const rest = (this.#keptOf.get(kept.userId) ?? 0) - 1
    if (rest > 0) this.#keptOf.set(kept.userId, rest)
    else this.#keptOf.delete(kept.userId)
    if (this.#kept.size === 0) this.#onNoneKept?.()
  }

  #sweep (): void {
    const now = performance.now()
    this.#now += Math.min(now - this.#last, 2 * SWEEP_MS)
    this.#last = now
    for (const connection of this.#open) connection.beat(this.#now)
  }
}

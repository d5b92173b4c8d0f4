/** How often connections are looked after, ms. */
const SWEEP_MS = 1000

/** What is looked after. @param now a clock in ms that stands still while this process does */
export interface Beating { beat (now: number): void }

/**
 * One timer for all connections. Its clock advances by at most two sweeps at a time: after this process was frozen or
 * busy, its clients get the time they need to answer, as the silence was ours.
 */
export class Heartbeat {
  readonly #beating = new Set<Beating>()
  #now = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | undefined

  /** ms since some moment; see above. */
  get now (): number { return this.#now }

  add (beating: Beating): void {
    this.#beating.add(beating)
    this.#timer ??= setInterval(() => { this.#sweep() }, SWEEP_MS).unref()
  }

  delete (beating: Beating): void {
    this.#beating.delete(beating)
    if (this.#beating.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #sweep (): void {
    const now = performance.now()
    this.#now += Math.min(now - this.#last, 2 * SWEEP_MS)
    this.#last = now
    for (const beating of this.#beating) beating.beat(this.#now)
  }
}

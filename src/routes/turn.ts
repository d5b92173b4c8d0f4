/**
 * So much is done for clients in one turn of the event loop: frames read and frames sent, some µs each. What is beyond
 * that waits for the next turn, so that nobody keeps the others waiting, however many send at once and to however many.
 */
const MOST_WORK = 1000

/** Counts what a turn of the event loop does for all clients together. */
export class Turn {
  #work = 0
  #isRunning = false
  #deferred: Array<() => void> = []

  /** Whether this turn has done its share: each client may still have one frame handled, so that none is passed over. */
  get isSpent (): boolean { return this.#work >= MOST_WORK }

  /** @param frames read or queued to be sent */
  spend (frames: number): void {
    this.#work += frames
    if (this.#isRunning) return
    this.#isRunning = true
    setImmediate(() => { this.#end() })
  }

  /** @param resume called in the next turn, after what the network brings by then */
  defer (resume: () => void): void {
    this.#deferred.push(resume)
    this.spend(0)
  }

  #end (): void {
    this.#work = 0
    this.#isRunning = false
    const deferred = this.#deferred
    this.#deferred = []
    for (const resume of deferred) resume()
  }
}

import type { Socket } from 'node:net'

/** How many open sockets each key has here: a user, an address. */
export class Headcount {
  readonly #limit: number
  readonly #counts = new Map<string, number>()

  /** @param limit 0 for none: nothing is counted then */
  constructor (limit: number) {
    this.#limit = limit
  }

  isFull (key: string | undefined): boolean {
    return key !== undefined && this.#limit > 0 && (this.#counts.get(key) ?? 0) >= this.#limit
  }

  /** Counts a socket until it closes, which it does however its upgrade ends. */
  add (key: string | undefined, socket: Socket): void {
    if (key === undefined || this.#limit === 0 || socket.destroyed) return
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
    socket.once('close', () => {
      const rest = (this.#counts.get(key) ?? 0) - 1
      if (rest > 0) this.#counts.set(key, rest)
      else this.#counts.delete(key)
    })
  }
}

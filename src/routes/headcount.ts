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

  add (key: string | undefined): void {
    if (key !== undefined && this.#limit > 0) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  /** Takes back one that was added. */
  remove (key: string | undefined): void {
    if (key === undefined || this.#limit === 0) return
    const rest = (this.#counts.get(key) ?? 0) - 1
    if (rest > 0) this.#counts.set(key, rest)
    else this.#counts.delete(key)
  }
}

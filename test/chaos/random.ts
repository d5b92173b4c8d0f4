/** Numbers from a seed (mulberry32): the same seed gives the same numbers, on every machine. */
export class Random {
  #state: number

  /** @param seed a number, and what tells this stream of numbers from others of the same seed */
  constructor (...seed: Array<number | string>) {
    this.#state = hash(seed.join(' '))
  }

  /** From 0 up to, not including, 1. */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from 0 up to, not including, the limit. */
  below (limit: number): number { return Math.floor(this.next() * limit) }

  between (low: number, high: number): number { return low + this.next() * (high - low) }

  chance (probability: number): boolean { return this.next() < probability }

  /** @throws RangeError when there is nothing to choose from */
  pick<T> (list: readonly T[]): T {
    const [one] = list.slice(this.below(list.length))
    if (one === undefined) throw new RangeError('nothing to choose from')
    return one
  }

  shuffled<T> (list: readonly T[]): T[] {
    return list.map(item => ({ item, place: this.next() })).sort((a, b) => a.place - b.place).map(({ item }) => item)
  }
}

/** FNV-1a. */
function hash (text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value | 0
}

import assert from 'node:assert/strict'

/** What a client knows of its session: how many frames it got, and what of its own the server may not have handled. */
export class Sent {
  #id: string
  #seen = 0
  /** Frames that were handled, of those sent since the session was given. */
  #handled = 0
  #rest: Array<{ readonly id: number, readonly text: string, readonly isPing: boolean, isAnswered: boolean }> = []

  /** @param id as the server calls it */
  constructor (id: string) {
    this.#id = id
  }

  get id (): string { return this.#id }
  /** Frames received since the one that gave it. */
  get seen (): number { return this.#seen }

  heard (): void { this.#seen++ }

  push (id: number, text: string, isPing: boolean): void { this.#rest.push({ id, text, isPing, isAnswered: false }) }

  answered (id: number): void {
    const frame = this.#rest.find(one => one.id === id)
    if (frame !== undefined) frame.isAnswered = true
  }

  /** The server says how many it has handled. @throws AssertionError when that cannot be */
  received (count: number): void {
    assert.ok(count >= this.#handled, `${count} were handled, and before, it were ${this.#handled}`)
    assert.ok(count <= this.#handled + this.#rest.length, `${count} were handled, of ${this.#handled + this.#rest.length}`)
    this.#rest.splice(0, count - this.#handled)
    this.#handled = count
    assert.ok(!this.#rest.some(({ isAnswered }) => isAnswered), 'what was answered was handled')
  }

  /** Goes on as another. @returns what was not handled: to be sent again, but for pings, which tell of the one before */
  goOn (id: string): { again: string[], pings: number[] } {
    const pings = this.#rest.filter(({ isPing }) => isPing).map(ping => ping.id)
    this.#rest = this.#rest.filter(({ isPing }) => !isPing)
    this.#id = id
    this.#seen = this.#handled = 0
    return { pings, again: this.#rest.map(({ text }) => text) }
  }
}

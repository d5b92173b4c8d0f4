/** What is waited for, by name: each name once. After `end` nothing is: a listener may have been what ended it. */
export class Timers<Name extends string> {
  readonly #timers = new Map<Name, ReturnType<typeof setTimeout>>()
  #isOver = false

  has (name: Name): boolean { return this.#timers.has(name) }

  /** Takes the place of what the name stood for. */
  set (name: Name, ms: number, what: () => void): void {
    this.clear(name)
    if (this.#isOver) return
    this.#timers.set(name, setTimeout(() => {
      this.#timers.delete(name)
      what()
    }, ms))
  }

  clear (...names: Name[]): void {
    for (const name of names) {
      clearTimeout(this.#timers.get(name))
      this.#timers.delete(name)
    }
  }

  end (): void {
    this.#isOver = true
    this.clear(...this.#timers.keys())
  }
}

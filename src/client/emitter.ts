/** Calls what listens, and nothing else: small, typed, and safe from what listeners throw. */

export type Listener<T> = (detail: T) => void

/** @typeParam Events what each event tells, by its name */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>()

  /** @returns the function that takes the listener off again */
  on<K extends keyof Events> (event: K, listener: Listener<Events[K]>): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners.add(listener))
    return () => { this.off(event, listener) }
  }

  off<K extends keyof Events> (event: K, listener: Listener<Events[K]>): void {
    this.#listeners.get(event)?.delete(listener)
  }

  /** @returns the function that takes the listener off before its time */
  once<K extends keyof Events> (event: K, listener: Listener<Events[K]>): () => void {
    const off = this.on(event, detail => {
      off()
      listener(detail)
    })
    return off
  }

  protected emit<K extends keyof Events> (event: K, detail: Events[K]): void {
    for (const listener of [...this.#listeners.get(event) ?? []]) {
      try {
        (listener as Listener<Events[K]>)(detail)
      } catch (error) {
        // told like any uncaught error, but after us: a listener's mistake must not stop what we are in the middle of
        queueMicrotask(() => { throw error })
      }
    }
  }
}

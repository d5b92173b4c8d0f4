/** How long until an instance that missed something is told so, and told again, ms. */
const TELL_EVERY_MS = 2000
/** One that does not hear for so many times is dead, or looks for itself when it hears again. */
const MOST_TRIES = 15

/** Instances that have missed a batch and may not know it. */
export class Misses {
  /** How often each was told in vain. */
  readonly #tries = new Map<string, number>()
  readonly #tell: (instance: string) => Promise<boolean | undefined>
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  /** @param tell resolves to whether the instance has heard it, undefined when it could not be said; never rejects */
  constructor (tell: (instance: string) => Promise<boolean | undefined>) {
    this.#tell = tell
  }

  add (instance: string): void {
    if (!this.#tries.has(instance)) this.#tries.set(instance, 0)
    this.#schedule()
  }

  stop (): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #schedule (): void {
    if (this.#tries.size > 0 && !this.#stopped) this.#timer ??= setTimeout(() => { void this.#tellAll() }, TELL_EVERY_MS).unref()
  }

  async #tellAll (): Promise<void> {
    await Promise.all(Array.from(this.#tries, async ([instance, tries]) => {
      this.#tries.delete(instance) // what it misses from now on counts anew
      const heard = await this.#tell(instance)
      if (heard === true || this.#tries.has(instance)) return
      if (heard === undefined) this.#tries.set(instance, tries)
      else if (tries < MOST_TRIES) this.#tries.set(instance, tries + 1)
    }))
    this.#timer = undefined
    this.#schedule()
  }
}

/** How often it was heard that an instance sends another way. What waits for its turn remembers how often by when it came. */
let times = 0

export function timesPassed (): number { return times }

/** The instances that send straight to the new holder of a member on the move, as far as they have said so. */
export class Passed {
  readonly #since = new Map<string | undefined, number>()

  /** @param instance undefined: this one */
  add (instance: string | undefined): void {
    if (!this.#since.has(instance)) this.#since.set(instance, ++times)
  }

  /** @param by when, as `timesPassed` said then */
  has (instance: string | undefined, by = times): boolean {
    const since = this.#since.get(instance)
    return since !== undefined && since <= by
  }
}

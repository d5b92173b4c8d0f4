import type { RequestId } from '../protocol/messages.ts'

/** Goes back into the room, where the connection is a new one. */
export class WayBack {
  /** Whether the others have known this client by its connection_id. */
  readonly isSameMember: boolean
  readonly #join: () => RequestId | undefined
  #id: RequestId | undefined
  #attempts = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param join asks for it; returns the id of the request */
  constructor (isSameMember: boolean, join: () => RequestId | undefined) {
    this.isSameMember = isSameMember
    this.#join = join
  }

  go (): void {
    this.#timer = undefined
    this.#id = this.#join()
  }

  isAnsweredBy (id: RequestId | undefined): boolean {
    return id !== undefined && id === this.#id
  }

  /** Tries again. @param backoff how long after so many attempts, ms. @returns how long that is */
  retry (backoff: (attempt: number) => number): number {
    const ms = Math.round(backoff(++this.#attempts))
    this.#timer = setTimeout(() => { this.go() }, ms)
    return ms
  }

  /** The connection is away. */
  hold (): void {
    clearTimeout(this.#timer)
  }

  /** The connection goes on: a request under way is under way still, and what waited waits no more. */
  goOn (): void {
    if (this.#timer !== undefined) this.go()
  }
}

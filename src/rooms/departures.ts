import type { Change, Presence } from '../presence/presence.ts'

/** How long until a leave that the store did not take is tried again, ms. */
const RETRY_MS = 1000

/** Somebody who has to go: a leaver, or one whose join was not answered and may have happened all the same. */
interface Owed {
  readonly room: string
  readonly connectionId: string
  /** Told once it is out, whether that ended the room. */
  readonly onGone: ((emptied: boolean) => void) | undefined
  /** The attempt under way. */
  attempt: Promise<void> | undefined
}

export interface DeparturesOptions {
  readonly presence: Presence
  readonly log: { warn (context: object, message: string): void }
  /** Called for every leave that took effect, in the turn in which the store answered it. */
  readonly onLeft: (room: string, connectionId: string, outcome: Change) => void
}

/** Takes members out of the store. What it does not take at the moment is owed, and tried again until it does. */
export class Departures {
  readonly #options: DeparturesOptions
  /** By connection_id and room. */
  readonly #owed = new Map<string, Owed>()
  #timer: NodeJS.Timeout | undefined

  constructor (options: DeparturesOptions) {
    this.#options = options
  }

  /**
   * Takes a member out. Resolves after the first attempt, whatever came of it; never rejects.
   * @param onGone called once it is out, however late, with whether that ended the room
   */
  async leave (room: string, connectionId: string, onGone: (emptied: boolean) => void): Promise<void> {
    const owed: Owed = { room, connectionId, onGone, attempt: undefined }
    this.#owed.set(keyOf(room, connectionId), owed)
    const error = await this.#attempt(owed)
    if (error !== undefined) this.#options.log.warn({ err: error, room, connection_id: connectionId }, 'the store did not take a leave; it is tried again')
  }

  /** A join was not answered: whether it happened or not, its member is not to stay. */
  owe (room: string, connectionId: string): void {
    this.#owed.set(keyOf(room, connectionId), { room, connectionId, onGone: undefined, attempt: undefined })
    this.#schedule()
  }

  /**
   * It comes back before its leave was made good: it is to stay. Resolves once no attempt is under way.
   * @returns whether anything was owed: a join that then fails has to be owed anew
   */
  async forgive (room: string, connectionId: string): Promise<boolean> {
    const owed = this.#owed.get(keyOf(room, connectionId))
    if (owed === undefined) return false
    this.#owed.delete(keyOf(room, connectionId))
    if (owed.attempt === undefined) owed.onGone?.(false)
    else await owed.attempt
    return true
  }

  /** Tries everything that is owed once more. */
  async settle (): Promise<void> {
    const errors = await Promise.all(Array.from(this.#owed.values(), owed => this.#attempt(owed)))
    const [first] = errors.filter(error => error !== undefined)
    if (first !== undefined) this.#options.log.warn({ err: first, owed: this.#owed.size }, 'the store still does not take leaves; they are tried again')
  }

  stop (): void {
    clearTimeout(this.#timer)
  }

  /** @returns why it failed, undefined when it did not */
  async #attempt (owed: Owed): Promise<unknown> {
    if (owed.attempt !== undefined) await owed.attempt
    const key = keyOf(owed.room, owed.connectionId)
    if (this.#owed.get(key) !== owed) return undefined
    let failure: unknown
    owed.attempt = this.#options.presence.leave(owed.room, owed.connectionId).then(outcome => {
      if (this.#owed.get(key) === owed) this.#owed.delete(key)
      if (outcome !== undefined) this.#options.onLeft(owed.room, owed.connectionId, outcome)
      owed.onGone?.(outcome?.emptied ?? false)
    }).catch((error: unknown) => {
      failure = error
      if (this.#owed.get(key) === owed) this.#schedule()
      else owed.onGone?.(false) // forgiven meanwhile
    })
    await owed.attempt
    owed.attempt = undefined
    return failure
  }

  #schedule (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.settle()
    }, RETRY_MS).unref()
  }
}

function keyOf (room: string, connectionId: string): string {
  return `${connectionId} ${room}`
}

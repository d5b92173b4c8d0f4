import type { Change, Presence } from '../presence/presence.ts'

/** How long until a leave that the store did not take is tried again, ms. */
const RETRY_MS = 1000

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
  readonly #owed = new Map<string, { room: string, connectionId: string }>()
  #timer: NodeJS.Timeout | undefined

  constructor (options: DeparturesOptions) {
    this.#options = options
  }

  /** @returns whether this leave ended the room. Never rejects */
  async leave (room: string, connectionId: string): Promise<boolean> {
    const { presence, log, onLeft } = this.#options
    try {
      const outcome = await presence.leave(room, connectionId)
      if (outcome === undefined) return false
      onLeft(room, connectionId, outcome)
      return outcome.emptied
    } catch (error) {
      log.warn({ err: error, room, connection_id: connectionId }, 'the store did not take a leave; it is tried again')
      this.owe(room, connectionId)
      return false
    }
  }

  /** Somebody may be in the store that must not: a leave that failed, or a join whose answer was lost. */
  owe (room: string, connectionId: string): void {
    this.#owed.set(keyOf(room, connectionId), { room, connectionId })
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.settle()
    }, RETRY_MS).unref()
  }

  /** It comes back before its leave was made good: it is to stay. */
  forgive (room: string, connectionId: string): void {
    this.#owed.delete(keyOf(room, connectionId))
  }

  /** Tries everything that is owed once more. */
  async settle (): Promise<void> {
    const owed = [...this.#owed.values()]
    this.#owed.clear()
    await Promise.all(owed.map(({ room, connectionId }) => this.leave(room, connectionId)))
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}

function keyOf (room: string, connectionId: string): string {
  return `${connectionId} ${room}`
}

import type { Presence } from '../presence/presence.ts'
import type { Roster } from './roster.ts'

/** How long a change may be missing before the whole room is asked for, ms. One overtakes another by milliseconds. */
export const GAP_MS = 1000

export interface RepairOptions {
  readonly presence: Presence
  readonly log: { warn (context: object, message: string): void }
  /** Called when a roster has all its changes again. */
  readonly onWhole: (roster: Roster) => void
}

/** Looks after rosters that miss a change: one that does not come by itself is made good by a snapshot. */
export class Repair {
  readonly #options: RepairOptions
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor (options: RepairOptions) {
    this.#options = options
  }

  /** A change is missing: gives it the time to come. */
  watch (roster: Roster): void {
    const { version } = roster
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!roster.hasGap || roster.ended || !roster.isAttended) return
      if (roster.version > version) this.watch(roster) // another one by now
      else void this.#mend(roster)
    }, GAP_MS)
    this.#timers.add(timer.unref())
  }

  stop (): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Asks for the whole of a room; again and again until it is there. Never rejects. */
  async #mend (roster: Roster): Promise<void> {
    const { presence, log, onWhole } = this.#options
    try {
      const snapshot = await presence.snapshot(roster.room)
      if (roster.hasGap && !roster.ended) {
        log.warn({ room: roster.room, version: roster.version, snapshot: snapshot?.version }, 'a change of a room was lost; its members are told the whole of it')
        if (snapshot?.epoch === roster.epoch) roster.resync(snapshot)
        else roster.end()
      }
    } catch (error) {
      log.warn({ err: error, room: roster.room }, 'a change of a room was lost, and the store does not answer')
    }
    if (roster.hasGap) this.watch(roster)
    else onWhole(roster)
  }
}

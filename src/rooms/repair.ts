import type { Presence } from '../presence/presence.ts'
import type { Roster } from './roster.ts'

/** How long a change may be missing before the whole room is asked for, ms. One overtakes another by milliseconds. */
export const GAP_MS = 1000

export interface RepairOptions {
  readonly presence: Presence
  readonly log: { warn (context: object, message: string): void }
  /** Called when a roster is what the store says again. */
  readonly onWhole: (roster: Roster) => void
}

/** Looks after rosters that may not be what the store says: what does not come by itself is made good by a snapshot. */
export class Repair {
  readonly #options: RepairOptions
  /** The rosters in doubt, one timer each. */
  readonly #timers = new Map<Roster, NodeJS.Timeout>()

  constructor (options: RepairOptions) {
    this.#options = options
  }

  /** A change is missing, or an answer: gives it the time to come, then asks for the whole of the room until it is there. */
  watch (roster: Roster): void {
    if (this.#timers.has(roster)) return
    const { version, hasGap } = roster
    const timer = setTimeout(() => {
      this.#timers.delete(roster)
      if (roster.ended || !roster.isAttended || (hasGap && !roster.hasGap)) return
      if (roster.version > version) this.watch(roster) // another change is missing by now
      else void this.#mendUntilDone(roster)
    }, GAP_MS)
    this.#timers.set(roster, timer.unref())
  }

  /** Takes over what the store says of a room. @returns whether it answered; never rejects */
  async mend (roster: Roster): Promise<boolean> {
    const { presence, log } = this.#options
    try {
      const snapshot = await presence.snapshot(roster.room)
      if (roster.ended) return true
      if (snapshot?.epoch !== roster.epoch) roster.end()
      else if (snapshot.version > roster.version) {
        log.warn({ room: roster.room, version: roster.version, snapshot: snapshot.version }, 'a change of a room was lost; its members are told the whole of it')
        roster.resync(snapshot)
      }
      return true
    } catch (error) {
      log.warn({ err: error, room: roster.room }, 'a room is in doubt, and the store does not answer')
      return false
    }
  }

  stop (): void {
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }

  async #mendUntilDone (roster: Roster): Promise<void> {
    const answered = await this.mend(roster)
    if (!answered || (roster.hasGap && !roster.ended)) this.watch(roster)
    else this.#options.onWhole(roster)
  }
}

import type { Position, Presence } from '../presence/presence.ts'
import type { Hub } from './hub.ts'
import { GAP_MS, type Reconciler } from './reconciler.ts'
import type { Roster } from './roster.ts'

/** How often rosters are compared with the store, ms at most. With short leases, as often as they end. */
export const CHECK_MS = 10_000
/** How soon a store that did not answer is asked again where all rooms stand, ms. */
const RETRY_MS = 1000
/** Rooms asked for at a time. */
export const BATCH = 200

export interface UpkeepOptions {
  readonly presence: Presence
  readonly reconciler: Reconciler
  readonly hub: Hub
  /** How long a lease runs, ms; undefined when there is one instance, whose rosters cannot miss a change. */
  readonly leaseMs: number | undefined
  readonly log: { debug (context: object, message: string): void, warn (context: object, message: string): void }
}

/**
 * What is done for rooms again and again: the store is kept from expiring them, and asked where they stand. That finds
 * silent loss: a change whose record was lost, with none after it that would show the gap.
 */
export class Upkeep {
  readonly #options: UpkeepOptions
  readonly #timers: NodeJS.Timeout[] = []
  #checking: Promise<boolean> | undefined
  #checkingAll: Promise<void> | undefined
  #stopped = false

  constructor (options: UpkeepOptions) {
    this.#options = options
  }

  start (): void {
    if (this.#timers.length > 0 || this.#stopped) return
    const { presence: { renewEveryMs }, leaseMs, hub } = this.#options
    if (renewEveryMs !== undefined) this.#every(renewEveryMs, () => this.#renew())
    // A room that lives here alone has nobody to miss a change of.
    if (leaseMs !== undefined) this.#every(Math.min(CHECK_MS, leaseMs), () => this.#check(hub.rosters.filter(({ isSpread }) => isSpread)))
  }

  stop (): void {
    this.#stopped = true
    for (const timer of this.#timers) clearInterval(timer)
  }

  /** Compares all rosters with the store, again and again until it answers. Resolves when those that are behind are in doubt; never rejects. */
  async checkAll (): Promise<void> {
    // Whoever asks while one waits for its turn is served by that one.
    this.#checkingAll ??= this.#idle().then(async () => {
      this.#checkingAll = undefined
      while (!await this.#check(this.#options.hub.rosters) && !this.#stopped) await pause(RETRY_MS)
    })
    await this.#checkingAll
  }

  /** One check runs at a time. @returns whether the store has answered */
  async #check (rosters: readonly Roster[]): Promise<boolean> {
    await this.#idle()
    this.#checking = this.#compareAll(rosters).finally(() => { this.#checking = undefined })
    return await this.#checking
  }

  async #idle (): Promise<void> {
    while (this.#checking !== undefined) await this.#checking
  }

  async #compareAll (rosters: readonly Roster[]): Promise<boolean> {
    const { presence, log } = this.#options
    const suspects: Array<() => void> = []
    let hasAnswered = true
    try {
      for (let at = 0; at < rosters.length; at += BATCH) {
        const batch = rosters.slice(at, at + BATCH)
        const before = batch.map(({ version }) => version)
        const positions = await presence.positions(batch.map(({ room }) => room))
        for (const [i, roster] of batch.entries()) {
          const doubt = this.#compare(roster, positions[i], before[i] ?? 0)
          if (doubt !== undefined) suspects.push(doubt)
        }
      }
    } catch (error) {
      log.debug({ err: error }, 'the store did not say where rooms stand; it is asked again')
      hasAnswered = false
    }
    if (suspects.length > 0) await pause(GAP_MS) // what is on its way comes by then
    for (const doubt of suspects) doubt()
    return hasAnswered
  }

  /**
   * @param versionBefore where the roster stood when the store was asked
   * @returns what to do after a while, unless the roster has caught up; undefined when it stands where the store does
   */
  #compare (roster: Roster, stored: Position | undefined, versionBefore: number): (() => void) | undefined {
    const { epoch } = roster
    const agrees = (): boolean => stored?.epoch === epoch && stored.version >= versionBefore && stored.version <= roster.version
    if (agrees()) return undefined
    return () => {
      if (!roster.ended && roster.isAttended && roster.epoch === epoch && !agrees()) this.#options.reconciler.doubt(roster.room, 'position')
    }
  }

  async #renew (): Promise<void> {
    const { presence, hub, log } = this.#options
    try {
      await presence.renew(hub.rosters.map(({ room }) => room))
    } catch (error) {
      log.warn({ err: error }, 'rooms could not be kept from expiring; it is tried again')
    }
  }

  #every (ms: number, run: () => Promise<unknown>): void {
    this.#timers.push(setInterval(() => { void run() }, ms).unref())
  }
}

async function pause (ms: number): Promise<void> {
  await new Promise(resolve => { setTimeout(resolve, ms).unref() })
}

/**
 * Sets rooms right. Whenever this instance cannot be sure that the store and its roster of a room agree (an answer was
 * lost, a change is missing, its lease had ended, the store came back), the room is in doubt. A doubt ends when the store
 * has been made to hold exactly the members that sit here, and the roster holds what the store does.
 */
import type { Broker } from '../broker/broker.ts'
import type { Member, Position, Presence, Reconciled, Since } from '../presence/presence.ts'
import type { Hub } from './hub.ts'
import type { Relay } from './relay.ts'
import type { Roster } from './roster.ts'

/** How long a change may be missing before the whole room is asked for, ms. One overtakes another by milliseconds. */
export const GAP_MS = 1000
/** How long until a room is tried again that the store did not answer for, ms. */
const RETRY_MS = 1000
/** Rooms that are asked for at a time: a store that has just come back must not be buried. */
const CONCURRENCY = 64

/** Why a room came into doubt; a label of a metric. */
export type DoubtCause = 'answer' | 'gap' | 'position' | 'reconnect' | 'lapsed' | 'forgotten'

/** A member that has left, as far as its peer was told, and waits to hear whether it was the last. */
export interface Leaver {
  readonly connectionId: string
  /** Of the life that it left, and the version it knew. */
  readonly known: Position
  tell (wasLast: boolean): void
}

/** A room in doubt. */
interface Doubt {
  readonly room: string
  cause: DoubtCause
  since: Since
  /** What was known of the room, for when its roster is gone. */
  known: Position | undefined
  leavers: Leaver[]
  /** The attempt under way. */
  attempt: Promise<void> | undefined
  /** Something has happened since the attempt under way began. */
  isStale: boolean
}

export interface ReconcilerOptions {
  readonly presence: Presence
  readonly broker: Pick<Broker, 'nonce'>
  readonly hub: Hub
  readonly relay: Relay
  readonly log: { info (context: object, message: string): void, warn (context: object, message: string): void }
  /** How long the other members' instances have to put them back into a room that the store had lost, ms. */
  readonly graceMs: number
  /** Called when a room has no member here and no doubt any more. */
  readonly onUnused: (room: string) => void
}

export class Reconciler {
  /**
   * The store has lost its memory, and not all instances have put their members back: nothing that it says of a room is
   * the whole. Ours are put back, but nothing is taken over meanwhile, and all rooms stay in doubt.
   */
  isRebuilding = false
  /** Rosters that missed a change. */
  gaps = 0
  /** How often members were told the whole of their room, by what had brought it into doubt. */
  readonly resyncs: Record<DoubtCause, number> = { answer: 0, gap: 0, position: 0, reconnect: 0, lapsed: 0, forgotten: 0 }
  readonly #options: ReconcilerOptions
  readonly #doubts = new Map<string, Doubt>()
  readonly #gapTimers = new Map<Roster, NodeJS.Timeout>()
  readonly #laterTimers = new Set<NodeJS.Timeout>()
  #retryTimer: NodeJS.Timeout | undefined
  #stopped = false

  constructor (options: ReconcilerOptions) {
    this.#options = options
  }

  has (room: string): boolean { return this.#doubts.has(room) }
  get size (): number { return this.#doubts.size }

  /** Whether rooms are in doubt because the store was away or the lease had ended. It looks at every doubt. */
  get isRecovering (): boolean {
    return [...this.#doubts.values()].some(({ cause }) => isOfStore(cause))
  }

  /**
   * A room is in doubt from now on, until it is set right.
   * @param leaver a member that the store may not have taken out
   */
  doubt (room: string, cause: DoubtCause, leaver?: Leaver): void {
    const doubt = this.#add(room, cause, leaver)
    const { lateMs } = this.#options.presence
    if (cause === 'answer' && leaver === undefined && lateMs !== undefined) this.#lookAgain(room, 'position', lateMs) // it may still happen
    setImmediate(() => { void this.#attempt(doubt) }) // with the next ones of this turn
  }

  /** Every room that is used here, or was in doubt before, is in doubt. Resolves after one attempt at each. */
  async doubtAll (rooms: Iterable<string>, cause: DoubtCause): Promise<void> {
    for (const room of rooms) this.#add(room, cause)
    for (const doubt of this.#doubts.values()) doubt.since = sinceOf(cause, doubt.since)
    await this.settleAll()
  }

  /** Tries to set a room right at once. Resolves after one attempt, whatever came of it; never rejects. */
  async settle (room: string): Promise<void> {
    const doubt = this.#doubts.get(room)
    if (doubt !== undefined) await this.#attempt(doubt)
  }

  /** As `settle`, for all rooms in doubt. */
  async settleAll (): Promise<void> {
    const queue = [...this.#doubts.values()]
    await Promise.all(Array.from({ length: CONCURRENCY }, async () => {
      for (let doubt = queue.shift(); doubt !== undefined; doubt = queue.shift()) await this.#attempt(doubt)
    }))
  }

  /** A change of a room is missing: gives it the time to come, then asks for the whole of the room. */
  watch (roster: Roster): void {
    if (this.#gapTimers.has(roster) || this.#stopped) return
    const { version } = roster
    const timer = setTimeout(() => {
      this.#gapTimers.delete(roster)
      if (roster.ended || !roster.isAttended || !roster.hasGap) return
      if (roster.version > version) return this.watch(roster) // another change is missing by now
      this.gaps++
      this.doubt(roster.room, 'gap')
    }, GAP_MS)
    this.#gapTimers.set(roster, timer.unref())
  }

  /** Ends all timers. What is in doubt stays so: the lease decides. */
  stop (): void {
    this.#stopped = true
    clearTimeout(this.#retryTimer)
    for (const timer of this.#gapTimers.values()) clearTimeout(timer)
    for (const timer of this.#laterTimers) clearTimeout(timer)
  }

  #add (room: string, cause: DoubtCause, leaver?: Leaver): Doubt {
    let doubt = this.#doubts.get(room)
    if (doubt === undefined) {
      doubt = { room, cause, since: 'kept', known: undefined, leavers: [], attempt: undefined, isStale: false }
      this.#doubts.set(room, doubt)
    }
    if (isOfStore(cause)) doubt.cause = cause
    doubt.since = sinceOf(cause, doubt.since)
    doubt.isStale = doubt.attempt !== undefined
    if (leaver !== undefined) doubt.leavers.push(leaver)
    doubt.known ??= leaver?.known // its roster may be gone by the time
    return doubt
  }

  async #attempt (doubt: Doubt): Promise<void> {
    if (this.#doubts.get(doubt.room) !== doubt) return // settled meanwhile
    doubt.attempt ??= this.#setRight(doubt).finally(() => { doubt.attempt = undefined })
    await doubt.attempt
  }

  async #setRight (doubt: Doubt): Promise<void> {
    const { room } = doubt
    const { hub, presence, broker, relay } = this.#options
    for (let joins = hub.idle(room); joins !== undefined; joins = hub.idle(room)) await joins
    const roster = this.#latest(room)
    const members = roster?.ours() ?? []
    if (this.isRebuilding && members.length === 0) return // who was the last can be said only when all are back
    if (roster !== undefined) doubt.known = { epoch: roster.epoch, version: roster.version }
    doubt.isStale = false
    const leavers = doubt.leavers.splice(0)
    const { since } = doubt
    doubt.since = 'kept' // what is found out from now on is for the next attempt
    const goOnDoubting = (): void => {
      doubt.since = graver(since, doubt.since)
      doubt.leavers.unshift(...leavers)
      roster?.resume()
    }
    roster?.suspend()
    try {
      // While others put their members back, a leave would look to them like a change that they have missed.
      const gone = this.isRebuilding ? [] : leavers.filter(({ known }) => known.epoch === doubt.known?.epoch).map(({ connectionId }) => connectionId)
      const found = await presence.reconcile(room, broker.nonce, members, doubt.known, since, gone)
      if (found.kind === 'held') { // what it changed is true, whether the rest is the whole or not
        const { snapshot, changes } = found
        const instances = snapshot.members.map(({ instance }) => instance)
        for (const change of changes) relay.change(instances, room, snapshot.epoch, change)
        if (this.isRebuilding) return goOnDoubting()
      }
      this.#takeOver(doubt, roster, found)
      if (found.kind === 'held' && this.#hasOutstayed(members, found.snapshot.members, roster)) doubt.isStale = true
      if (found.kind === 'disbanded') { // nothing was said of what came after that life
        doubt.known = undefined
        doubt.leavers.unshift(...leavers)
        return await this.#setRight(doubt)
      }
      if (leavers.length > 0) {
        const last = await presence.lastLeavers(room, leavers.map(({ known }) => known.epoch))
        for (const [i, { connectionId, tell }] of leavers.entries()) tell(last[i] === connectionId)
      }
      this.#end(doubt)
    } catch (error) {
      goOnDoubting()
      this.#retry(error)
    }
  }

  #takeOver (doubt: Doubt, roster: Roster | undefined, found: Reconciled): void {
    const { room, cause } = doubt
    const { hub, relay, log, graceMs } = this.#options
    if (found.kind === 'gone') roster?.abandon()
    if (found.kind === 'disbanded' && roster !== undefined) {
      relay.change([...roster.instances], room, roster.epoch, found)
      roster.end(found.reason)
    }
    if (found.kind === 'held') {
      const { snapshot, changes, restored } = found
      doubt.known = snapshot
      if (restored && roster?.isSpread === true) {
        roster.resume()
        this.#lookAgain(room, 'forgotten', graceMs)
      } else if (roster?.adopt(snapshot, changes) === true) {
        this.resyncs[cause]++
        log.info({ room, cause, version: snapshot.version }, 'the members of a room were told the whole of it')
      }
    }
    if (roster !== undefined) hub.release(roster)
  }

  /** Whether the store was told of a member that has gone on elsewhere meanwhile, and has put it back: nobody else would take it out. */
  #hasOutstayed (told: readonly Member[], stored: readonly Member[], roster: Roster | undefined): boolean {
    const { nonce } = this.#options.broker
    const ours = new Set(roster?.ours().map(({ connection_id: id }) => id))
    const isTold = new Set(told.map(({ connection_id: id }) => id))
    return stored.some(({ connection_id: id, instance }) => instance === nonce && isTold.has(id) && !ours.has(id))
  }

  #end (doubt: Doubt): void {
    const { room } = doubt
    const { hub, onUnused } = this.#options
    if (doubt.isStale) {
      setImmediate(() => { void this.#attempt(doubt) })
    } else {
      this.#doubts.delete(room)
      if (!hub.isUsed(room)) onUnused(room)
    }
  }

  /** @returns the life of a room that goes on here; earlier ones have ended, and word of it was lost */
  #latest (room: string): Roster | undefined {
    const lives = this.#options.hub.lives(room)
    const latest = lives.at(-1)
    for (const life of lives) if (life !== latest) life.end('user_requested')
    return latest
  }

  #lookAgain (room: string, cause: DoubtCause, ms: number): void {
    if (this.#stopped) return
    const timer = setTimeout(() => {
      this.#laterTimers.delete(timer)
      this.doubt(room, cause)
    }, ms)
    this.#laterTimers.add(timer.unref())
  }

  #retry (error: unknown): void {
    if (this.#stopped || this.#retryTimer !== undefined) return
    this.#options.log.warn({ err: error, rooms: this.#doubts.size }, 'rooms are in doubt, and the store does not answer; it is tried again')
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined
      void this.settleAll()
    }, RETRY_MS).unref()
  }
}

/** Whether a room came into doubt as all others did. */
function isOfStore (cause: DoubtCause): boolean {
  return cause === 'reconnect' || cause === 'lapsed' || cause === 'forgotten'
}

/** What a cause says of the lease, beside what was found before. */
function sinceOf (cause: DoubtCause, before: Since): Since {
  return cause === 'lapsed' || cause === 'forgotten' ? graver(cause, before) : before
}

/** Which of two findings counts: the store's loss of memory before the end of a lease. */
function graver (one: Since, other: Since): Since {
  if (one === 'forgotten' || other === 'forgotten') return 'forgotten'
  return one === 'lapsed' ? one : other
}

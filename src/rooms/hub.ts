import type { Snapshot } from '../presence/presence.ts'
import type { ChangeRecord, DataRecord } from './record.ts'
import { Roster, type RosterOwner } from './roster.ts'

/** The most bytes of relayed frames that wait for one room's join to be answered, a round trip. What comes beyond is lost. */
const PENDING_BYTES = 1024 * 1024

/** Joins of one room whose answer is under way, and what the inbox brought for it meanwhile. */
interface Arrival { joins: number, records: Array<DataRecord | ChangeRecord>, bytes: number }

/**
 * The rooms of this instance, those that a peer of ours is in. They are kept by epoch, not by name: while the end of one
 * life is still on its way here, the next life of the same name may have begun.
 */
export class Hub {
  readonly #rosters = new Map<string, Roster>()
  readonly #arrivals = new Map<string, Arrival>()
  readonly #self: string
  readonly #owner: RosterOwner

  /** @param self this instance's nonce */
  constructor (self: string, owner: RosterOwner) {
    this.#self = self
    this.#owner = owner
  }

  /** Rooms with a member here. */
  get rosters (): Iterable<Roster> { return this.#rosters.values() }
  get roomCount (): number { return this.#rosters.size }

  /** A join was asked of the store: keeps what arrives for the room until `arrived`. */
  expect (room: string): void {
    const arrival = this.#arrivals.get(room)
    if (arrival === undefined) this.#arrivals.set(room, { joins: 1, records: [], bytes: 0 })
    else arrival.joins++
  }

  /** The join was answered (and its roster opened, unless it failed): what waited is handed over, in order. */
  arrived (room: string): void {
    const arrival = this.#arrivals.get(room)
    if (arrival === undefined) return
    if (--arrival.joins === 0) this.#arrivals.delete(room)
    const { records } = arrival
    arrival.records = []
    arrival.bytes = 0
    for (const record of records) this.receive(record)
  }

  /** @returns the roster of a life; made from the snapshot, without its last change, where this instance had none */
  open (room: string, snapshot: Snapshot, joiner: string): Roster {
    const known = this.#rosters.get(snapshot.epoch)
    if (known !== undefined) return known
    const before = {
      epoch: snapshot.epoch,
      version: snapshot.version - 1,
      members: snapshot.members.filter(member => member.connection_id !== joiner)
    }
    const roster = new Roster(room, before, this.#self, this.#owner)
    this.#rosters.set(snapshot.epoch, roster)
    return roster
  }

  /** Forgets a roster that nobody here needs any more. */
  release (roster: Roster): void {
    if (this.#rosters.get(roster.epoch) !== roster) return // a later one has taken its place
    if (roster.ended || !roster.isAttended) this.#rosters.delete(roster.epoch)
  }

  /** A record from another instance, or a change brought about here. One for a room without members here comes too late and is dropped. */
  receive (record: DataRecord | ChangeRecord): void {
    const roster = this.#rosters.get(record.epoch)
    if (roster === undefined) {
      const arrival = this.#arrivals.get(record.room)
      if (arrival === undefined) return
      if (record.kind === 'data') arrival.bytes += record.frame.length
      if (record.kind === 'change' || arrival.bytes <= PENDING_BYTES) arrival.records.push(record)
    } else if (record.kind === 'data') {
      roster.deliver(record.sender, record.targets, record.frame)
    } else {
      roster.receive(record.change)
      this.release(roster)
    }
  }
}

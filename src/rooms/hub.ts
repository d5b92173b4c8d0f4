import type { Entry } from '../presence/presence.ts'
import type { ChangeRecord, DataRecord } from './record.ts'
import { Roster } from './roster.ts'
import type { RosterOwner } from './roster-owner.ts'

/** The most bytes of relayed frames that wait for one room's join to be answered, a round trip. What comes beyond is lost. */
const PENDING_BYTES = 1024 * 1024

/** Joins of one room whose answer is under way, what the inbox brought for it meanwhile, and who waits for the last of them. */
interface Arrival { joins: number, records: Array<{ record: DataRecord | ChangeRecord, origin: string | undefined }>, bytes: number, onDone: Array<() => void> }

/**
 * The rooms of this instance, those that a peer of ours is in. A room has a roster a life: while the end of one life is
 * still on its way here, the next life of the same name may have begun.
 */
export class Hub {
  /** By the room's name; the latest life last. */
  readonly #rooms = new Map<string, Roster[]>()
  readonly #arrivals = new Map<string, Arrival>()
  readonly #self: string
  readonly #owner: RosterOwner

  /** @param self this instance's nonce */
  constructor (self: string, owner: RosterOwner) {
    this.#self = self
    this.#owner = owner
  }

  /** All lives of all rooms. */
  get rosters (): Roster[] { return Array.from(this.#rooms.values()).flat() }
  /** Rooms with a member here. */
  get roomCount (): number { return this.#rooms.size }

  /** The lives of a room that have members here, the latest last. */
  lives (room: string): readonly Roster[] { return this.#rooms.get(room) ?? [] }

  /** Whether a peer of ours is in a room or on its way into it. */
  isUsed (room: string): boolean { return this.#rooms.has(room) || this.#arrivals.has(room) }

  /** A join was asked of the store: keeps what arrives for the room until `arrived`. */
  expect (room: string): void {
    const arrival = this.#arrivals.get(room)
    if (arrival === undefined) this.#arrivals.set(room, { joins: 1, records: [], bytes: 0, onDone: [] })
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
    for (const { record, origin } of records) this.receive(record, origin)
    if (arrival.joins > 0) return
    for (const roster of this.lives(room)) this.release(roster)
    for (const done of arrival.onDone) done()
  }

  /** Waits until no join of a room is under way; undefined when none is. */
  idle (room: string): Promise<void> | undefined {
    const arrival = this.#arrivals.get(room)
    return arrival && new Promise(resolve => { arrival.onDone.push(resolve) })
  }

  /** @returns the roster of a life; made from the store's answer, without its last change, where this instance had none */
  open (room: string, { epoch, version, members, from }: Entry, comer: string): Roster {
    const lives = this.#rooms.get(room) ?? []
    const known = lives.find(life => life.epoch === epoch)
    if (known !== undefined) return known
    const before = from === undefined
      ? members.filter(({ connection_id: id }) => id !== comer)
      : members.map(member => member.connection_id === comer ? { ...member, instance: from } : member)
    const roster = new Roster(room, { epoch, version: version - 1, members: before }, this.#self, this.#owner)
    this.#rooms.set(room, [...lives, roster])
    return roster
  }

  /** Forgets a roster that nobody here needs any more. A join under way needs what has come for the roster before its turn. */
  release (roster: Roster): void {
    if (!roster.ended && (roster.isAttended || this.#arrivals.has(roster.room))) return
    const lives = this.lives(roster.room).filter(life => life !== roster)
    if (lives.length > 0) this.#rooms.set(roster.room, lives)
    else this.#rooms.delete(roster.room)
  }

  /** A record from another instance, or a change brought about here. One for a room without members here comes too late and is dropped. @param origin the instance */
  receive (record: DataRecord | ChangeRecord, origin?: string): void {
    const roster = this.lives(record.room).find(({ epoch }) => epoch === record.epoch)
    if (roster === undefined) {
      this.#hold(record, origin)
    } else if (record.kind === 'data') {
      roster.deliver(record.sender, record.targets, record.frame, origin)
    } else {
      roster.receive(record.change)
      this.release(roster)
    }
  }

  /** Keeps a record for a join that is under way, if there is one. */
  #hold (record: DataRecord | ChangeRecord, origin: string | undefined): void {
    const arrival = this.#arrivals.get(record.room)
    if (arrival === undefined) return
    if (record.kind === 'data') arrival.bytes += record.frame.length
    if (record.kind === 'change' || arrival.bytes <= PENDING_BYTES) arrival.records.push({ record, origin })
  }
}

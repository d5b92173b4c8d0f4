import { randomBytes } from 'node:crypto'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import type { Change, Entry, Member, NewMember, Position, Presence, Reconciled, RosterChange, Snapshot } from './presence.ts'

interface Room {
  readonly epoch: string
  version: number
  readonly members: Map<string, Stay>
}

/** @property since the version at which the member came, or was taken over */
interface Stay { readonly member: Member, readonly since: number }

/** How a life of a room ended. */
interface End { readonly version: number, readonly lastLeaver: string | undefined }

/** So many ends are kept in mind, of the latest lives. */
const MOST_ENDS = 1000

/** Presence in this process: for one instance, without Redis. A call takes effect before it returns. */
export class MemoryPresence implements Presence {
  readonly renewEveryMs = undefined
  readonly lateMs = undefined
  readonly #rooms = new Map<string, Room>()
  /** By epoch, in the order they came. */
  readonly #ends = new Map<string, End>()
  readonly #announce: (event: LobbyEvent) => void

  /** @param announce tells the lobby */
  constructor (announce: (event: LobbyEvent) => void) {
    this.#announce = announce
  }

  async join (name: string, newcomer: NewMember, limit: number): Promise<Entry | 'full'> {
    const room = this.#rooms.get(name) ?? { epoch: randomBytes(16).toString('hex'), version: 0, members: new Map<string, Stay>() }
    const known = room.members.get(newcomer.connection_id)
    if (known !== undefined) return goOn(room, known.member, newcomer)
    if (limit > 0 && room.members.size >= limit) return 'full'
    const created = room.members.size === 0
    put(room, { ...newcomer, joined_at: Date.now() })
    if (created) {
      this.#rooms.set(name, room)
      this.#announce({ type: 'room_created', room: name, epoch: room.epoch })
    }
    return snapshotOf(room)
  }

  async move (name: string, member: NewMember, epoch: string): Promise<Entry | undefined> {
    const room = this.#rooms.get(name)
    const known = room?.members.get(member.connection_id)
    return room?.epoch === epoch && known !== undefined ? goOn(room, known.member, member) : undefined
  }

  async leave (name: string, connectionId: string, known: Position): Promise<(Change & { emptied: boolean }) | undefined> {
    const room = this.#rooms.get(name)
    if (room?.epoch !== known.epoch || (room.members.get(connectionId)?.since ?? Infinity) > known.version) return undefined
    remove(room, connectionId)
    const emptied = room.members.size === 0
    if (emptied) this.#end(name, room, connectionId)
    return { ...changeOf(room), emptied }
  }

  async disband (name: string, requester: string | undefined): Promise<Change | undefined> {
    const room = this.#rooms.get(name)
    if (room === undefined || (requester !== undefined && !room.members.has(requester))) return undefined
    room.version++
    this.#end(name, room, undefined)
    return changeOf(room)
  }

  /** Nothing is forgotten here and nobody is reaped: a life that is not there has ended. */
  async reconcile (name: string, instance: string, members: readonly Member[], known: Position | undefined): Promise<Reconciled> {
    const room = this.#rooms.get(name)
    const end = known && this.#ends.get(known.epoch)
    if (end !== undefined && end.lastLeaver === undefined) return { kind: 'disbanded', version: end.version, reason: 'user_requested' }
    if (room === undefined) return { kind: 'gone' }
    const wanted = new Map(members.map(member => [member.connection_id, member]))
    const changes: RosterChange[] = []
    let lastLeaver: string | undefined
    for (const [id, member] of wanted) {
      if (room.members.has(id)) continue // over another instance, maybe: it has gone on there
      put(room, member)
      changes.push({ kind: 'joined', version: room.version, member })
    }
    for (const { member: { connection_id: id, instance: holder } } of room.members.values()) {
      if (holder !== instance || wanted.has(id)) continue
      remove(room, id)
      changes.push({ kind: 'left', version: room.version, connectionId: id })
      lastLeaver = id
    }
    if (room.members.size > 0) return { kind: 'held', snapshot: snapshotOf(room), changes, restored: false }
    this.#end(name, room, lastLeaver)
    return { kind: 'gone' }
  }

  async lastLeavers (_name: string, epochs: readonly string[]): Promise<Array<string | undefined>> {
    return epochs.map(epoch => this.#ends.get(epoch)?.lastLeaver)
  }

  release (): void {}

  async positions (names: readonly string[]): Promise<Array<Position | undefined>> {
    return names.map(name => {
      const room = this.#rooms.get(name)
      return room && { epoch: room.epoch, version: room.version }
    })
  }

  async snapshot (name: string): Promise<Snapshot | undefined> {
    const room = this.#rooms.get(name)
    return room && snapshotOf(room)
  }

  async renew (): Promise<void> {}

  /** @param lastLeaver undefined when somebody disbanded it */
  #end (name: string, { epoch, version }: Room, lastLeaver: string | undefined): void {
    this.#rooms.delete(name)
    this.#ends.set(epoch, { version, lastLeaver })
    const [oldest] = this.#ends.keys()
    if (this.#ends.size > MOST_ENDS && oldest !== undefined) this.#ends.delete(oldest)
    this.#announce({ type: 'room_disbanded', room: name, epoch, reason: lastLeaver === undefined ? 'user_requested' : 'last_member_left' })
  }
}

/** Puts a member in, at a version of its own. */
function put (room: Room, member: Member): void {
  room.members.set(member.connection_id, { member, since: ++room.version })
}

/** Takes a member out, at a version of its own. */
function remove (room: Room, id: string): void {
  room.members.delete(id)
  room.version++
}

/** A member comes in again: over the instance that holds it, or over another one from now on. */
function goOn (room: Room, { joined_at: joinedAt, instance: from }: Member, comer: NewMember): Entry {
  if (from === comer.instance) {
    room.version++
    return snapshotOf(room)
  }
  put(room, { ...comer, joined_at: joinedAt })
  return { ...snapshotOf(room), from }
}

function snapshotOf ({ epoch, version, members }: Room): Snapshot {
  return { epoch, version, members: Array.from(members.values(), ({ member }) => member) }
}

function changeOf ({ epoch, version, members }: Room): Change {
  return { epoch, version, instances: [...new Set(Array.from(members.values(), ({ member }) => member.instance))] }
}

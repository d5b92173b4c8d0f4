import { randomUUID } from 'node:crypto'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import type { Change, LastLeave, Member, NewMember, Position, Presence, Reconciled, RosterChange, Snapshot } from './presence.ts'

interface Room { readonly epoch: string, version: number, readonly members: Map<string, Member> }

/** The version of an end that nobody has kept: after all others. */
const AFTER_ALL = Number.MAX_SAFE_INTEGER

/** Presence in this process: for one instance, without Redis. A call takes effect before it returns. */
export class MemoryPresence implements Presence {
  readonly renewEveryMs = undefined
  readonly #rooms = new Map<string, Room>()
  readonly #announce: (event: LobbyEvent) => void

  /** @param announce tells the lobby */
  constructor (announce: (event: LobbyEvent) => void) {
    this.#announce = announce
  }

  async join (name: string, newcomer: NewMember, limit: number): Promise<Snapshot | 'full'> {
    const room = this.#rooms.get(name) ?? { epoch: randomUUID(), version: 0, members: new Map<string, Member>() }
    if (room.members.has(newcomer.connection_id)) {
      room.version++
      return snapshotOf(room)
    }
    if (limit > 0 && room.members.size >= limit) return 'full'
    const created = room.members.size === 0
    room.members.set(newcomer.connection_id, { ...newcomer, joined_at: Date.now() })
    room.version++
    if (created) {
      this.#rooms.set(name, room)
      this.#announce({ type: 'room_created', room: name, epoch: room.epoch })
    }
    return snapshotOf(room)
  }

  async leave (name: string, connectionId: string): Promise<(Change & { emptied: boolean }) | undefined> {
    const room = this.#rooms.get(name)
    if (room === undefined || !room.members.delete(connectionId)) return undefined
    room.version++
    const emptied = room.members.size === 0
    if (emptied) {
      this.#rooms.delete(name)
      this.#announce({ type: 'room_disbanded', room: name, epoch: room.epoch, reason: 'last_member_left' })
    }
    return { ...changeOf(room), emptied }
  }

  async disband (name: string, requester: string | undefined): Promise<Change | undefined> {
    const room = this.#rooms.get(name)
    if (room === undefined || (requester !== undefined && !room.members.has(requester))) return undefined
    room.version++
    this.#rooms.delete(name)
    this.#announce({ type: 'room_disbanded', room: name, epoch: room.epoch, reason: 'user_requested' })
    return changeOf(room)
  }

  /** Memory forgets nothing and nobody is reaped: a life that is not there was ended on purpose. */
  async reconcile (name: string, instance: string, members: readonly Member[], known: Position | undefined): Promise<Reconciled> {
    const room = this.#rooms.get(name)
    if (known !== undefined && known.epoch !== room?.epoch && members.length > 0) return { kind: 'disbanded', version: AFTER_ALL, reason: 'user_requested' }
    if (room === undefined) return { kind: 'gone', last: undefined }
    const wanted = new Map(members.map(member => [member.connection_id, member]))
    const changes: RosterChange[] = []
    let last: LastLeave | undefined
    for (const [id, member] of wanted) {
      if (room.members.has(id)) continue
      room.members.set(id, member)
      changes.push({ kind: 'joined', version: ++room.version, member })
    }
    for (const { connection_id: id, instance: holder } of room.members.values()) {
      if (holder !== instance || wanted.has(id)) continue
      room.members.delete(id)
      changes.push({ kind: 'left', version: ++room.version, connectionId: id })
      last = { epoch: room.epoch, connectionId: id }
    }
    if (room.members.size > 0) return { kind: 'held', snapshot: snapshotOf(room), changes, restored: false, last: undefined }
    this.#rooms.delete(name)
    this.#announce({ type: 'room_disbanded', room: name, epoch: room.epoch, reason: 'last_member_left' })
    return { kind: 'gone', last }
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
}

function snapshotOf ({ epoch, version, members }: Room): Snapshot {
  return { epoch, version, members: [...members.values()] }
}

function changeOf ({ epoch, version, members }: Room): Change {
  return { epoch, version, instances: [...new Set(Array.from(members.values(), member => member.instance))] }
}

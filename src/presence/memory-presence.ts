import { randomUUID } from 'node:crypto'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import type { Change, Member, NewMember, Presence, Snapshot } from './presence.ts'

interface Room { readonly epoch: string, version: number, readonly members: Map<string, Member> }

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

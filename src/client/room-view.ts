import type { MemberInfo, ServerMessage } from '../protocol/messages.ts'
import type { LeaveReason, Member, SignalingEvents } from './events.ts'

/** Tells whoever listens to the client. */
export type Emit = <K extends keyof SignalingEvents>(event: K, detail: SignalingEvents[K]) => void

/** The room as this client knows it: who else is there, at which version. */
export class RoomView {
  name: string | null = null
  members = new Map<string, Member>()
  /** The own connection_id: not among the members. */
  self = ''
  #version = 0
  readonly #emit: Emit

  constructor (emit: Emit) {
    this.#emit = emit
  }

  /** All of it anew. */
  enter (name: string, version: number, members: MemberInfo[]): void {
    this.name = name
    this.#version = version
    this.members = new Map(members.filter(member => member.connection_id !== this.self).map(member => [member.connection_id, member]))
  }

  exit (reason: LeaveReason): void {
    const { name: room } = this
    if (room === null) return
    this.name = null
    this.members = new Map()
    this.#emit('left', { room, reason })
  }

  /** What a frame changes here; one of another room, or of a version that is known, changes nothing. */
  receive (frame: ServerMessage): void {
    switch (frame.type) {
      case 'left': return this.exit('left')
      case 'room_disbanded':
        if (frame.data.room === this.name) this.exit(frame.data.reason)
        return this.#emit('room_disbanded', frame.data)
      case 'resynced':
        if (frame.room !== this.name) return
        this.enter(frame.room, frame.version, frame.data.members)
        return this.#emit('resynced', { room: frame.room, members: this.members })
      case 'data': {
        const { room, from, data, to } = frame
        if (room === this.name) this.#emit('data', { from, data, ...(to !== undefined && { to }) })
        return
      }
      case 'user_joined':
      case 'user_left':
      case 'user_resumed': {
        const { type, room, version, data } = frame
        if (room !== this.name || version <= this.#version) return
        this.#version = version
        if (data.connection_id === this.self) return // `resumed` has told
        if (type === 'user_left') this.members.delete(data.connection_id)
        else this.members.set(data.connection_id, { ...this.members.get(data.connection_id), ...data })
        this.#emit(type, data)
      }
    }
  }

  /**
   * Whether what was meant for somebody, before this client came back as a new member, is still of use: to all, or to a user
   * who is here. One connection is, if it sees the same member here as before.
   */
  reaches (to: string | undefined, isSameMember: boolean): boolean {
    if (this.name === null || to === undefined) return this.name !== null
    return (isSameMember && this.members.has(to)) || [...this.members.values()].some(member => member.user_id === to)
  }
}

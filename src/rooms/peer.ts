import type { CloseCode } from '../protocol/codes.ts'
import type { Frame } from '../protocol/frame.ts'
import type { PeerInfo } from '../protocol/messages.ts'
import type { Seat } from './seat.ts'

/** Who a connection belongs to. It comes from the token alone, never from a frame. */
export interface Identity {
  readonly userId: string
  readonly username: string
  /** Never sent to other clients. */
  readonly email?: string
  readonly role: string
  /** Rooms that the token opens, `*` as a trailing wildcard; undefined: all of them. */
  readonly rooms: readonly string[] | undefined
  /** When the token ends, in seconds since 1970; undefined: never. */
  readonly expiresAt: number | undefined
}

/** One connected client. Two connections of one user are two peers. */
export interface Peer {
  /** Its connection_id, unique in the cluster. */
  readonly id: string
  readonly identity: Identity
  /** Where it sits: set by rooms/ alone. */
  seat: Seat | undefined
  /** Queues a frame, in order. Never throws; does nothing once the connection is closed. */
  send (frame: Frame): void
  close (code: CloseCode): void
}

/** What others are told of a peer. */
export function infoOf ({ id, identity }: Peer): PeerInfo {
  return { connection_id: id, user_id: identity.userId, username: identity.username }
}

/** Whether the token opens a room: its `rooms` claim names it, or it has no such claim. */
export function opens ({ rooms }: Identity, room: string): boolean {
  if (rooms === undefined) return true
  return rooms.some(name => name.endsWith('*') ? room.startsWith(name.slice(0, -1)) : room === name)
}

/** Whether the token may watch at all: admins watch every room, others the rooms that their claim names. */
export function mayWatch ({ role, rooms }: Identity): boolean {
  return role === 'admin' || rooms !== undefined
}

/** Whether a watcher is told of the births and deaths of a room. */
export function watches (identity: Identity, room: string): boolean {
  return identity.role === 'admin' || (identity.rooms !== undefined && opens(identity, room))
}

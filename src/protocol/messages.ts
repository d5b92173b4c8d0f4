/**
 * The frames of the wire protocol, as schemas (what a client may send) and as types (what the server answers).
 * Field names are snake_case on the wire. Shared with browser clients, which take the types only.
 */
import { Type, type Static } from 'typebox'
import type { ErrorCode, TokenFailure } from './codes.ts'

/** 1 to 128 characters that cannot be mistaken for a Redis key pattern or hash tag: no brace, no star, no space. */
export const ROOM_NAME = /^[A-Za-z0-9_\-.:@]{1,128}$/

/** A request's `id` is the client's own: the reply repeats it as it came. */
const Id = Type.Optional(Type.Union([Type.String(), Type.Number()]))

/** What a client may send, by the frame's `type`. Fields that are not named here are ignored. */
export const clientMessages = {
  join: Type.Object({ type: Type.Literal('join'), room: Type.String(), user_id: Type.Optional(Type.String()), id: Id }),
  leave: Type.Object({ type: Type.Literal('leave'), id: Id }),
  data: Type.Object({ type: Type.Literal('data'), data: Type.Unknown(), to: Type.Optional(Type.String()), id: Id }),
  disband_room: Type.Object({ type: Type.Literal('disband_room'), id: Id }),
  watch: Type.Object({ type: Type.Literal('watch'), id: Id }),
  unwatch: Type.Object({ type: Type.Literal('unwatch'), id: Id }),
  refresh: Type.Object({ type: Type.Literal('refresh'), token: Type.String(), id: Id }),
  ping: Type.Object({ type: Type.Literal('ping'), id: Id, seen: Type.Optional(Type.Integer({ minimum: 0 })) }),
  report: Type.Object({
    type: Type.Literal('report'),
    peer: Type.String({ pattern: '^[^]{1,256}$' }),
    result: Type.Enum(['connected', 'failed']),
    ms: Type.Number({ minimum: 0, maximum: 3_600_000 }),
    path: Type.Optional(Type.Enum(['host', 'srflx', 'prflx', 'relay'])),
    cause: Type.Optional(Type.String()),
    id: Id
  })
}

export type ClientMessageType = keyof typeof clientMessages
export type ClientMessageOf<T extends ClientMessageType> = Static<(typeof clientMessages)[T]>
export type ClientMessage = { [T in ClientMessageType]: ClientMessageOf<T> }[ClientMessageType]
export type RequestId = Static<typeof Id>

/** Who a frame is from or about. `email` and `role` never leave the server. */
export interface PeerInfo { connection_id: string, user_id: string, username: string }

/** A member of a room as others see it. `joined_at` is in milliseconds since 1970, by the clock of the room's store. */
export interface MemberInfo extends PeerInfo { joined_at: number }

/** Why a room ended: the last member left, or somebody asked for it. */
export type DisbandReason = 'last_member_left' | 'user_requested'

/** What `RTCPeerConnection` takes as one of its `iceServers`. */
export interface IceServer { urls: string | string[], username?: string, credential?: string }

/** What every opening frame says of the session it gives: it was asked for with `resume=true`, or has just been used. */
export interface SessionOffer { session: string, resume_window_ms: number }

/** A connection as its client is told of it. `resumed` is false when a session was shown and could not be gone on with. */
export type Welcome = PeerInfo & { instance_id: string, ping_interval_ms: number, ice_servers?: readonly IceServer[], resumed?: false } & Partial<SessionOffer>

/** A session that goes on. Room, version and members are as they were before the `missed` frames, which follow. */
export type Resumed = PeerInfo & SessionOffer & {
  instance_id: string
  ping_interval_ms: number
  ice_servers?: readonly IceServer[]
  /** How many of the client's frames were handled since the session was given. */
  received: number
  room: string | null
  version: number | null
  members: MemberInfo[]
  /** How many frames follow that the client has not seen. */
  missed: number
}

/** What the server sends, by the frame's `type`. `version` counts the changes of one life of a room, from 1. */
export type ServerMessage =
  | { type: 'welcome', data: Welcome }
  | { type: 'resumed', data: Resumed }
  | { type: 'joined', room: string, version: number, data: { room: string, connection_id: string, members: MemberInfo[] }, id?: RequestId }
  | { type: 'left', data: { room: string }, id?: RequestId }
  | { type: 'ready', data: PeerInfo }
  | { type: 'user_joined', room: string, version: number, data: PeerInfo }
  | { type: 'user_resumed', room: string, version: number, data: PeerInfo }
  | { type: 'user_left', room: string, version: number, data: PeerInfo }
  | { type: 'data', from: PeerInfo, room: string, data: unknown, to?: string }
  | { type: 'resynced', room: string, version: number, data: { room: string, members: MemberInfo[] } }
  | { type: 'room_created', data: { room: string } }
  | { type: 'room_disbanded', data: { room: string, reason: DisbandReason }, id?: RequestId }
  | { type: 'watching', id?: RequestId }
  | { type: 'unwatched', id?: RequestId }
  | { type: 'refreshed', data: { expires_at: number | null }, id?: RequestId }
  | { type: 'pong', id?: RequestId, received?: number }
  | { type: 'ice_servers', data: { ice_servers: readonly IceServer[], expires_at: number } }
  | { type: 'goaway', data: { reason: string, reconnect_after_ms: number } }
  | { type: 'degraded', data: { redis: 'down' | 'up' } }
  | { type: 'error', error: string, code: ErrorCode | TokenFailure, data?: { delivered: 'local' }, id?: RequestId }

export type ServerMessageType = ServerMessage['type']

export const serverMessageTypes: readonly ServerMessageType[] = [
  'welcome', 'resumed', 'joined', 'left', 'ready', 'user_joined', 'user_resumed', 'user_left', 'data', 'resynced', 'room_created', 'room_disbanded',
  'watching', 'unwatched', 'refreshed', 'pong', 'ice_servers', 'goaway', 'degraded', 'error'
]

/** What a `SignalingClient` tells, by the name of the event. */
import type { DisbandReason, IceServer, PeerInfo, ServerMessage, ClientMessage } from '../protocol/messages.ts'
import type { SignalingError } from './signaling-error.ts'

/** A member of the room. `joined_at` is known of those who were there first. */
export interface Member extends PeerInfo { joined_at?: number }

export type Members = ReadonlyMap<string, Member>

/**
 * - `connecting`: not open yet for the first time
 * - `open`: connected, and back in the room after a loss
 * - `reconnecting`: it was open, and comes back by itself
 * - `closed`: not connected yet, or over for good; `connect()` begins anew
 */
export type SignalingState = 'connecting' | 'open' | 'reconnecting' | 'closed'

export interface StateChange {
  state: SignalingState
  /** Why, for people. */
  cause: string
  /** When the next attempt comes, ms. */
  retryInMs?: number
  /** Why it is closed for good, for programs. */
  error?: SignalingError
}

/**
 * - `left`: by an own `leave`, or by a join of another room
 * - `refused`: the way back into the room was refused; an `error` event tells why
 * - `closed`: the connection is over for good
 * - `gone`: the server does not know of it any more
 */
export type LeaveReason = 'left' | 'refused' | 'closed' | 'gone' | DisbandReason

/** A room that was joined. */
export interface JoinedRoom {
  room: string
  /** The others, by their connection_id. */
  members: Members
}

export interface Joined extends JoinedRoom {
  /** The client came back by itself, as a new member or with its old connection_id. */
  rejoined: boolean
}

export interface SignalingEvents {
  state: StateChange
  joined: Joined
  left: { room: string, reason: LeaveReason }
  user_joined: PeerInfo
  user_left: PeerInfo
  /** A member goes on over another connection; it never left. */
  user_resumed: PeerInfo
  /** All that was known of the room is replaced. Who was there before and is still is the same member. */
  resynced: { room: string, members: Members }
  data: { from: PeerInfo, data: unknown, to?: string }
  /** The connection is back as if it had not been away: frames that were missed, and own ones sent again. */
  resumed: { missed: number, resent: number }
  room_created: { room: string }
  room_disbanded: { room: string, reason: DisbandReason }
  ice_servers: { ice_servers: readonly IceServer[], expires_at?: number }
  goaway: { reason: string, reconnect_after_ms: number }
  degraded: { redis: 'down' | 'up' }
  /** What was refused and nobody waits for: `data`, `report`, the way back into the room, a new token. */
  error: SignalingError
  /** Every frame, for logs; tokens are taken out. */
  frame: { direction: 'in', frame: ServerMessage } | { direction: 'out', frame: ClientMessage }
}

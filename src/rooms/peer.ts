import type { CloseCode } from '../protocol/codes.ts'
import type { Frame } from '../protocol/frame.ts'
import type { PeerInfo } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { opens, type Identity } from './identity.ts'
import type { Seat } from './seat.ts'

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

/**
 * Whether a peer may go on under another token.
 * @throws Refusal identity_mismatch, or room_forbidden when the token does not open the room it is in
 */
export function checkRefresh ({ identity, seat }: Peer, next: Identity): void {
  if (next.userId !== identity.userId) throw new Refusal('identity_mismatch')
  if (seat !== undefined && !opens(next, seat.roster.room)) throw new Refusal('room_forbidden')
}

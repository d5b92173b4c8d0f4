/**
 * Presence: who is in which room, on which instance. It is the truth of the cluster; rosters are copies of it.
 *
 * Guarantees of every implementation:
 * - Each call is atomic for its room, and calls of one instance take effect in the order they were made.
 * - A room's life has an `epoch`, unique for ever, and a `version` that counts its changes from 1 without a gap.
 * - A room exists while it has members: the first join begins a life, the last leave or a disband ends it.
 * - `room_created` and `room_disbanded` are announced in the lobby exactly once a life, by the call that brings them
 *   about and not by its caller, so that a caller's death swallows neither.
 * - A call that cannot be carried out rejects: with NotDone when it surely had no effect, otherwise that is unknown.
 *   `leave` may be repeated safely.
 */
import type { MemberInfo, PeerInfo } from '../protocol/messages.ts'

/** A member of a room and the instance (its nonce) that holds its connection. */
export interface Member extends MemberInfo { readonly instance: string }

/** What the joiner brings; the store adds `joined_at`. */
export type NewMember = Omit<Member, 'joined_at'>

/** A room at one version, its members in the order they joined. */
export interface Snapshot {
  readonly epoch: string
  readonly version: number
  readonly members: Member[]
}

/** A change of a room other than a join: which one it was, and the instances that hold a member after or because of it. */
export interface Change {
  readonly epoch: string
  readonly version: number
  /** Nonces of the instances that have to hear of it. */
  readonly instances: string[]
}

/** A call that had no effect: the store is away, or has refused it. */
export class NotDone extends Error {
  constructor (cause: unknown) {
    super('The store did not carry it out', { cause })
    this.name = 'NotDone'
  }
}

export interface Presence {
  /**
   * Puts a member into a room, creating the room where needed. One that is there already (the answer to its join was
   * lost) stays, at a version of its own.
   * @param limit the most members a room may have; 0 for no limit
   * @returns the room with its new member in it, or 'full'
   */
  join (room: string, member: NewMember, limit: number): Promise<Snapshot | 'full'>

  /** Takes a member out. @returns what changed, `emptied` when it was the last; undefined when it was not there */
  leave (room: string, connectionId: string): Promise<(Change & { emptied: boolean }) | undefined>

  /**
   * Ends a room's life with all its members.
   * @param requester the member on whose request; undefined for the host application, which need not be a member
   * @returns undefined when there is no such room, or the requester is not in it
   */
  disband (room: string, requester: string | undefined): Promise<Change | undefined>

  /** @returns the room as it stands, undefined when there is none */
  snapshot (room: string): Promise<Snapshot | undefined>

  /** Keeps rooms from expiring. To be called for every room with a member here, every `renewEveryMs`. */
  renew (rooms: string[]): Promise<void>

  /** How often `renew` is due, ms; undefined when nothing expires here. */
  readonly renewEveryMs: number | undefined
}

/** What others are told of a member. */
export function infoOfMember ({ connection_id, user_id, username }: PeerInfo): PeerInfo {
  return { connection_id, user_id, username }
}

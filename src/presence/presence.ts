/**
 * Presence: who is in which room, on which instance. It is the truth of the cluster; rosters are copies of it.
 *
 * Guarantees of every implementation:
 * - Each call is atomic for its room, and calls of one instance take effect in the order they were made.
 * - A room's life has an `epoch`, unique for ever, and a `version` that counts its changes from 1 without a gap.
 * - A room exists while it has members: the first join begins a life, the last leave or a disband ends it.
 * - `room_created` and `room_disbanded` are announced in the lobby exactly once a life, by the call that brings them
 *   about and not by its caller, so that a caller's death swallows neither.
 * - A call that cannot be carried out rejects: with NotDone when it surely had no effect, otherwise that is unknown, and
 *   `reconcile` finds out. `leave` and `reconcile` may be repeated safely.
 */
import type { DisbandReason, MemberInfo, PeerInfo } from '../protocol/messages.ts'

/** A member of a room and the instance (its nonce) that holds its connection. */
export interface Member extends MemberInfo { readonly instance: string }

/** What the joiner brings; the store adds `joined_at`. */
export type NewMember = Omit<Member, 'joined_at'>

/** One moment in the history of a room. */
export interface Position { readonly epoch: string, readonly version: number }

/** A room at one version, its members in the order they joined. */
export interface Snapshot extends Position { readonly members: Member[] }

/** What one version of a room changed. */
export type RosterChange =
  | { readonly kind: 'joined', readonly version: number, readonly member: Member }
  /** A member goes on over another instance; nobody has seen it leave. */
  | { readonly kind: 'moved', readonly version: number, readonly member: Member }
  | { readonly kind: 'left', readonly version: number, readonly connectionId: string }
  | { readonly kind: 'disbanded', readonly version: number, readonly reason: DisbandReason }

/** A room with a member that has just come in. */
export interface Entry extends Snapshot {
  /** The instance (its nonce) that held it until now: the change was a move, and that instance has to hear of it. Absent when it joined. */
  readonly from?: string
}

/** A change of a room other than a join: which one it was, and the instances that hold a member after or because of it. */
export interface Change extends Position {
  /** Nonces of the instances that have to hear of it. */
  readonly instances: string[]
}

/**
 * What may have happened to an instance's members behind its back, which says what a room that is not there means.
 * `kept`: its lease ran on, so nobody can have ended the room: the store lost it. `lapsed`: its lease had ended, so its
 * members may have been reaped, and the room with them. `forgotten`: the store came back without its memory.
 */
export type Since = 'kept' | 'lapsed' | 'forgotten'

/** What a room was found to be, and what was changed about it so that it holds exactly the members of one instance. */
export type Reconciled =
  /** The life that the instance knew was ended on purpose; its members are in no room. */
  | { readonly kind: 'disbanded', readonly version: number, readonly reason: 'user_requested' }
  /** There is no such room, and the instance has no member for it. */
  | { readonly kind: 'gone' }
  /** The room as it is. `restored`: the store had lost it, and knows the members of this instance again, no others. */
  | { readonly kind: 'held', readonly snapshot: Snapshot, readonly changes: RosterChange[], readonly restored: boolean }

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
   * lost) stays, at a version of its own; one that another instance holds is taken over from it, as by `move`.
   * @param limit the most members a room may have; 0 for no limit. One that is there already needs no place
   * @returns the room with its new member in it, or 'full'
   */
  join (room: string, member: NewMember, limit: number): Promise<Entry | 'full'>

  /**
   * Has a member go on over the instance that asks, whoever held it: it keeps its time of joining, at a new version, so
   * that neither a leave by its former holder nor the former holder's reaper takes it out.
   * @param epoch the life in which it is a member
   * @returns undefined when that life has ended, or it is no member of it any more
   */
  move (room: string, member: NewMember, epoch: string): Promise<Entry | undefined>

  /**
   * Takes a member out.
   * @param known the room as it left it: one that has come again since, or to another life, stays
   * @returns what changed, `emptied` when it was the last; undefined when it was not there
   */
  leave (room: string, connectionId: string, known: Position): Promise<(Change & { emptied: boolean }) | undefined>

  /**
   * Ends a room's life with all its members.
   * @param requester the member on whose request; undefined for the host application, which need not be a member
   * @returns undefined when there is no such room, or the requester is not in it
   */
  disband (room: string, requester: string | undefined): Promise<Change | undefined>

  /**
   * Makes a room hold exactly the given members of one instance, whatever has gone wrong before. The others' are left
   * alone, and so is a given member that another instance holds by now: it has gone on there.
   * @param instance the nonce of the caller
   * @param members its members, in the order they joined; none: it has none there any more
   * @param known what it knows of the room; undefined when it knows nothing
   * @param leavers connection_ids of members that have left the known life since, the last one last: a store that forgot them is told
   */
  reconcile (room: string, instance: string, members: readonly Member[], known: Position | undefined, since: Since, leavers?: readonly string[]): Promise<Reconciled>

  /**
   * Whose leave it was that ended a life, not long ago: an answer that said so may have been lost.
   * @returns connection_ids in the order of the epochs asked for; undefined where none did, or nobody knows any more
   */
  lastLeavers (room: string, epochs: readonly string[]): Promise<Array<string | undefined>>

  /**
   * How long after it was given up a call may still take effect, ms: what a network held back comes true later. Undefined
   * when that cannot be.
   */
  readonly lateMs: number | undefined

  /** No member of this instance is in the room any more, nor on its way: it need not be kept in mind for it. Never throws. */
  release (room: string): void

  /** @returns the room as it stands, undefined when there is none */
  snapshot (room: string): Promise<Snapshot | undefined>

  /** @returns where rooms stand, in the order asked; undefined for those that are not there */
  positions (rooms: readonly string[]): Promise<Array<Position | undefined>>

  /** Keeps rooms from expiring. To be called for every room with a member here, every `renewEveryMs`. */
  renew (rooms: string[]): Promise<void>

  /** How often `renew` is due, ms; undefined when nothing expires here. */
  readonly renewEveryMs: number | undefined
}

/** What others are told of a member. */
export function infoOfMember ({ connection_id, user_id, username }: PeerInfo): PeerInfo {
  return { connection_id, user_id, username }
}

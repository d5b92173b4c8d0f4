import { frameOf, type Frame } from '../protocol/frame.ts'
import type { DisbandReason, MemberInfo, PeerInfo, RequestId } from '../protocol/messages.ts'
import type { Seat } from './seat.ts'

/** Up to so many seats a list has room for no more than there are; one that is pushed to has room for seventeen, and most rooms are small. */
const FEW = 8

/** A room at one version. */
interface RoomState { readonly room: string, readonly version: number, members (): MemberInfo[] }

/** The members of one room that sit here, and what they are told of it. */
export class Audience {
  readonly #state: RoomState
  #seats: Seat[] = []

  constructor (state: RoomState) {
    this.#state = state
  }

  get seats (): readonly Seat[] { return this.#seats }

  add (seat: Seat): void {
    if (this.#seats.length < FEW) this.#seats = this.#seats.concat(seat)
    else this.#seats.push(seat)
  }

  remove (seat: Seat): void {
    const at = this.#seats.indexOf(seat)
    if (at >= 0) this.#seats.splice(at, 1)
  }

  tellJoined (data: PeerInfo): void {
    const { room, version } = this.#state
    if (this.#seats.length > 0) this.#tell([frameOf({ type: 'ready', data }), frameOf({ type: 'user_joined', room, version, data })])
  }

  /** Everybody but the one who goes on. */
  tellResumed (data: PeerInfo): void {
    const { room, version } = this.#state
    if (this.#seats.length > 0) this.#tell([frameOf({ type: 'user_resumed', room, version, data })], data.connection_id)
  }

  tellLeft (data: PeerInfo): void {
    const { room, version } = this.#state
    if (this.#seats.length > 0) this.#tell([frameOf({ type: 'user_left', room, version, data })])
  }

  /** What cannot be told as a change is told as the whole of the room. */
  tellWhole (): void {
    if (this.#seats.length > 0) this.#tell([resyncedFrame(this.#state)])
  }

  /** Tells everybody of the end. @returns the seats, which are none any more */
  dismiss (reason: DisbandReason): Seat[] {
    const { room } = this.#state
    const frame = disbandedFrame(room, reason)
    const seats = this.#seats
    this.#seats = []
    for (const seat of seats) seat.send(seat.requestId === undefined ? frame : disbandedFrame(room, reason, seat.requestId))
    return seats
  }

  /** @param except a connection_id that is sent nothing */
  #tell (frames: readonly Frame[], except?: string): void {
    for (const seat of this.#seats) if (seat.peer.id !== except) for (const frame of frames) seat.send(frame)
  }
}

export function resyncedFrame (state: RoomState): Frame {
  const { room, version } = state
  return frameOf({ type: 'resynced', room, version, data: { room, members: state.members() } })
}

/** @param id of the receiver's own request */
export function disbandedFrame (room: string, reason: DisbandReason, id?: RequestId): Frame {
  return frameOf({ type: 'room_disbanded', data: { room, reason }, ...(id !== undefined && { id }) })
}

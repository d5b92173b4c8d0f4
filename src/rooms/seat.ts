import { frameOf, relayPrefix, unpinned, type Frame } from '../protocol/frame.ts'
import type { RequestId } from '../protocol/messages.ts'
import { resyncedFrame } from './audience.ts'
import { infoOf, type Peer } from './peer.ts'
import type { Roster } from './roster.ts'

/** The most bytes that a room may have for a peer that is still on its way out of another; then it has to come again. */
const HELD_BYTES = 1024 * 1024

/** The place of one of our own peers in one life of a room. */
export class Seat {
  readonly peer: Peer
  readonly roster: Roster
  /** The `id` of a request of its own to end the room, to be repeated in the answer. */
  requestId: RequestId | undefined = undefined
  /**
   * Of a member on the move between two instances: whether it is told here, and not over the other one, what an instance
   * (undefined: this one) said to the whole room. @see timesPassed for `at`, when that came
   */
  isToldHere: ((origin: string | undefined, at: number) => boolean) | undefined = undefined
  #prefix: Buffer | undefined
  #held: Frame[] | undefined
  #heldBytes = 0

  /** @param held whether what the room sends waits until `release`: a peer on the move has another room to leave first */
  constructor (peer: Peer, roster: Roster, held: boolean) {
    this.peer = peer
    this.roster = roster
    if (held) this.#held = []
  }

  /** What every frame relayed from here begins with; made when the first one is, as idle members need none. */
  get prefix (): Buffer {
    this.#prefix ??= relayPrefix(infoOf(this.peer), this.roster.room)
    return this.#prefix
  }

  /** Tells its peer that it is in, and who else is. @param id of the request */
  confirm (id: RequestId | undefined): void {
    const { peer, roster: { room, version } } = this
    const data = { room, connection_id: peer.id, members: this.roster.members(peer.id) }
    this.send(frameOf({ type: 'joined', room, version, data, ...(id !== undefined && { id }) }))
  }

  /** Tells its peer the whole of the room, which it could not be told change by change. */
  resync (): void {
    this.send(resyncedFrame(this.roster))
  }

  send (frame: Frame): void {
    if (this.#held === undefined) return this.peer.send(frame)
    this.#held.push(unpinned(frame))
    this.#heldBytes += frame.length
    if (this.#heldBytes > HELD_BYTES) this.peer.close(1013)
  }

  /** Sends what waited, in order; nothing waits from now on. */
  release (): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const frame of held) this.peer.send(frame)
  }
}

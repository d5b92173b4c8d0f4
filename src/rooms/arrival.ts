import { frameOf, type Frame } from '../protocol/frame.ts'
import type { MemberInfo } from '../protocol/messages.ts'
import { Passed } from './passed.ts'
import { infoOf, type Peer } from './peer.ts'
import type { Seat } from './seat.ts'

/**
 * How long what is still on its way over the old holder is waited for, ms; then the client is told the whole of its room. An
 * instance that the client goes on to meanwhile waits for that as well, and no longer than for one that is dead.
 */
const FORWARDED_MS = 1500
/** The most that may come before the client is spoken to, bytes: it is a round trip's worth. */
const WAITING_BYTES = 1024 * 1024

/** One life of a room. */
export interface Life { readonly room: string, readonly epoch: string }

/** A peer in its new place since this version of the room, and the whole of the room then. Its seat keeps what comes from there on. */
export interface Moved { readonly seat: Seat, readonly version: number, readonly whole: { readonly version: number, readonly members: MemberInfo[] } }

/** What the old holder of a session gives to the new one. */
export interface GivenUp {
  readonly username: string
  readonly received: number
  /** The room as the client knows it, before the missed frames. */
  readonly view: { readonly room: string, readonly version: number, readonly members: MemberInfo[] } | undefined
  readonly missed: Frame[]
  /** Whether the store can be reached, as far as the client was told with these. */
  readonly isReached: boolean
  /** Where it is a member now; undefined when in no room. */
  readonly room: string | undefined
}

export interface ArrivalOwner {
  /** @param onSeat called before anything of its room is sent there */
  settle (peer: Peer, onSeat: (seat: Seat) => void): Promise<Moved | 'nowhere' | undefined>
  /** Nothing more has to be forwarded. */
  over (): void
  /** The old holder gives the client up. */
  abort (): void
}

/** A client that goes on here with the session of another instance. */
export class Arrival {
  readonly given: GivenUp
  /** Why its room could not be changed. */
  error: unknown = undefined
  readonly #owner: ArrivalOwner
  #peer: Peer | undefined
  #moved: Moved | undefined
  /** What was forwarded before the client was spoken to. */
  #waiting: Frame[] | undefined = []
  #waitingBytes = 0
  #isDone = false
  readonly #passed = new Passed()
  /** The instances whose words to the whole room come over the old holder until they have passed. */
  #awaited: readonly string[] = []
  #isOver = false
  #late: NodeJS.Timeout | undefined
  /** Resolves when nothing more comes over the old holder. */
  readonly finished: Promise<void>
  #onFinished: () => void = () => {}

  constructor (given: GivenUp, owner: ArrivalOwner) {
    this.given = given
    this.#owner = owner
    this.finished = new Promise(resolve => { this.#onFinished = resolve })
  }

  /**
   * Makes the peer a member in its new place, where it is one. Nothing is sent to it yet.
   * @returns whether it can go on; otherwise the old holder gives the client up. Never rejects
   */
  async settle (peer: Peer): Promise<boolean> {
    const moved = await this.#owner.settle(peer, seat => { this.#seated(seat) }).catch((error: unknown) => { this.error = error })
    if (moved === undefined) {
      this.abort()
      return false
    }
    this.#peer = peer
    if (moved === 'nowhere') this.#isDone = true
    else this.#moved = moved
    return true
  }

  /** The client was told that it goes on: it is told the rest. */
  begin (): void {
    const frames = this.#waiting ?? []
    this.#waiting = undefined
    for (const frame of frames) this.#peer?.send(frame)
    this.#late = setTimeout(() => { this.#finish(true) }, FORWARDED_MS)
    this.#look()
  }

  #seated (seat: Seat): void {
    const awaited = this.#awaited = [...seat.roster.instances]
    this.#passed.add(undefined)
    seat.isToldHere = (origin, at) => this.#passed.has(origin, at) || (origin !== undefined && !awaited.includes(origin))
  }

  #look (): void {
    if (this.#waiting === undefined && this.#isDone && this.#awaited.every(instance => this.#passed.has(instance))) this.#finish(false)
  }

  /** It cannot go on here. */
  abort (): void {
    this.#isOver = true
    this.#owner.over()
    this.#onFinished()
    this.#owner.abort()
  }

  /** A frame that reached the old holder. */
  forwarded (frame: Frame): void {
    if (this.#waiting === undefined) {
      this.#peer?.send(frame)
      return
    }
    this.#waitingBytes += frame.length
    if (this.#waitingBytes <= WAITING_BYTES) this.#waiting.push(frame)
  }

  /** All that had to be forwarded is here. */
  done (): void {
    this.#isDone = true
    this.#look()
  }

  /** An instance sends straight to here from now on. */
  passed (instance: string): void {
    this.#passed.add(instance)
    this.#look()
  }

  /** The room speaks for itself from now on. @param isLate something may be missing: the whole of the room makes up for it */
  #finish (isLate: boolean): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#late)
    this.#owner.over()
    this.#speak(isLate)
    this.#onFinished()
  }

  #speak (isLate: boolean): void {
    const peer = this.#peer
    if (peer === undefined || this.#moved === undefined) return
    const { seat, version, whole } = this.#moved
    const { room } = seat.roster
    peer.send(frameOf(isLate
      ? { type: 'resynced', room, version: whole.version, data: { room, members: whole.members } }
      : { type: 'user_resumed', room, version, data: infoOf(peer) }))
    if (isLate || !seat.roster.isBehind) seat.isToldHere = undefined // otherwise words of before may still wait for their turn
    seat.release()
  }
}

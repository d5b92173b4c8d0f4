import { randomBytes } from 'node:crypto'
import { payloadOf, typeOf, unpinned, type Frame } from '../protocol/frame.ts'
import type { MemberInfo, ServerMessage } from '../protocol/messages.ts'

/** The most that is kept of what was sent to a client and that it may not have got: frames, and their bytes. */
const MOST_FRAMES = 256
const MOST_BYTES = 1024 * 1024
/** Of a session's name: nobody guesses it. */
const KEY_BYTES = 16

/** A room as a client knows it. */
export interface RoomView { readonly room: string, readonly version: number, readonly members: MemberInfo[] }

/** The same as it is kept: forgetting a frame that changes it must not cost as much as the room is large. */
interface KnownRoom { readonly room: string, version: number, readonly members: Map<string, MemberInfo> }

/** What the client is told when it goes on, and the frames that it has missed. */
export interface Resumption { readonly received: number, readonly view: RoomView | undefined, readonly missed: Frame[] }

/** What a session is, for the instance that goes on with it. */
export interface SessionState extends Resumption {
  /** The name that the client came with, and the frames that it has of it. */
  readonly spent: string
  readonly seen: number
}

/** Keeps sessions by their names. */
export interface SessionOwner {
  /** A name counts no more. */
  spent (key: string): void
  /** None of its names does. */
  ended (): void
}

/** A name of the session, and the numbers of both sides' frames at which its own count begins. */
interface Name { readonly key: string, readonly sentBefore: number, readonly receivedBefore: number }

/**
 * What a client needs to go on where it was after its socket is gone: the last frames that it was sent, its room as it was
 * before them, and how many of its own frames were handled. Frames are numbered by counting on both sides, so they carry none.
 */
export class Session {
  readonly #owner: SessionOwner
  #name: Name = { key: newKey(), sentBefore: 0, receivedBefore: 0 }
  /** The name that the client came with: it counts until the client has said something, as the new one may not have reached it. */
  #former: Name | undefined
  #frames: Frame[] = []
  #bytes = 0
  /** Frames sent before those that are kept. */
  #forgotten = 0
  #received = 0
  /** The room as it was before the frames that are kept. */
  #view: KnownRoom | undefined

  constructor (owner: SessionOwner, state?: SessionState) {
    this.#owner = owner
    if (state === undefined) return
    this.#view = state.view && known(state.view)
    for (const frame of state.missed) this.push(frame)
    this.#former = { key: state.spent, sentBefore: -state.seen, receivedBefore: -state.received }
  }

  get key (): string { return this.#name.key }
  get keys (): string[] { return this.#former === undefined ? [this.key] : [this.key, this.#former.key] }

  /** Whether this is the name that the client came with, and not the one that it was given then. */
  isFormer (key: string): boolean { return this.#former?.key === key }

  /** The client's frames that were handled since the session has its name. */
  get received (): number { return this.#received - this.#name.receivedBefore }

  /** A frame was sent. */
  push (sent: Frame): void {
    const frame = unpinned(sent)
    this.#frames.push(frame)
    this.#bytes += frame.length
    while (this.#frames.length > MOST_FRAMES || this.#bytes > MOST_BYTES) this.#forget(1)
  }

  /** A frame of the client was handled: it has its new session. */
  handled (): void {
    this.#received++
    if (this.#former === undefined) return
    this.#owner.spent(this.#former.key)
    this.#former = undefined
  }

  /** The client has so many frames of this session. */
  saw (seen: number): void {
    this.#forget(Math.min(this.#name.sentBefore + seen - this.#forgotten, this.#frames.length))
  }

  /**
   * Goes on under a new name, from what the client has seen.
   * @param key the name that the client came with
   * @param seen frames that it has of that session
   * @returns what it is told; undefined when what it needs is not kept any more, or was never sent
   */
  resume (key: string, seen: number): Resumption | undefined {
    const name = [this.#name, this.#former].find(candidate => candidate?.key === key)
    if (name === undefined) return undefined
    const known = name.sentBefore + seen
    if (!(known >= this.#forgotten && known <= this.#forgotten + this.#frames.length)) return undefined
    for (const spent of this.keys) if (spent !== key) this.#owner.spent(spent)
    this.#forget(known - this.#forgotten)
    this.#former = name
    this.#name = { key: newKey(), sentBefore: known, receivedBefore: this.#received }
    const view = this.#view && { ...this.#view, members: [...this.#view.members.values()] }
    return { received: this.#received - name.receivedBefore, view, missed: [...this.#frames] }
  }

  end (): void {
    this.#owner.ended()
  }

  #forget (count: number): void {
    for (const frame of this.#frames.splice(0, Math.max(count, 0))) {
      this.#bytes -= frame.length
      this.#forgotten++
      this.#view = viewAfter(this.#view, frame)
    }
  }
}

function newKey (): string {
  return randomBytes(KEY_BYTES).toString('base64url')
}

/** What a client makes of its room, told this. */
function viewAfter (view: KnownRoom | undefined, frame: Frame): KnownRoom | undefined {
  switch (typeOf(frame)) {
    case 'joined':
    case 'resynced':
    case 'user_joined':
    case 'user_resumed':
    case 'user_left':
    case 'left':
    case 'room_disbanded': return told(view, payloadOf(frame))
    default: return view
  }
}

function told (view: KnownRoom | undefined, message: ServerMessage): KnownRoom | undefined {
  switch (message.type) {
    case 'joined':
    case 'resynced': return known({ room: message.room, version: message.version, members: message.data.members })
    case 'user_joined':
    case 'user_resumed':
    case 'user_left': {
      if (view === undefined) return undefined
      const { connection_id: id } = message.data
      view.version = message.version
      if (message.type !== 'user_resumed') view.members.delete(id)
      // The frame does not say when it joined; the room's roster does, while it knows the member.
      if (message.type === 'user_joined') view.members.set(id, { ...message.data, joined_at: Date.now() })
      return view
    }
    // A watcher is told of the end of other rooms too.
    case 'left':
    case 'room_disbanded': return message.data.room === view?.room ? undefined : view
    default: return view
  }
}

function known ({ members, ...room }: RoomView): KnownRoom {
  return { ...room, members: new Map(members.map(member => [member.connection_id, member])) }
}

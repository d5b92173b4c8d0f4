import assert from 'node:assert/strict'
import type { PeerInfo, ServerMessage } from '../../src/protocol/messages.ts'
import { now } from './troubles.ts'

/** What a client says: who says it, its own count, and the room that it is in, unless it is on its way elsewhere. */
export interface Said { readonly by: string, readonly n: number, readonly room?: string }

/** A time in one room without interruption, of one connection. */
export interface Stay {
  readonly room: string
  readonly since: number
  /** The version at which the room was first seen. */
  readonly version: number
  until: number
}

type FrameOf<T extends ServerMessage['type']> = Extract<ServerMessage, { type: T }>

/**
 * What a connection knows by the frames that it got. Each must be one that can follow those before it: a snapshot
 * (`joined`, `resynced`) may come with any version, changes carry the next one; leaves are of members, joins of others;
 * data is from members and for this room and this client, and each sender's comes in order and once.
 */
export class View {
  readonly userId: string
  self: PeerInfo | undefined
  stay: Stay | undefined
  version = 0
  members = new Map<string, PeerInfo>()
  isSentAway = false
  /** What `degraded` said last. */
  redis: 'up' | 'down' | undefined
  #announced: PeerInfo | undefined
  /** Whether it has come back: it may have been elsewhere meanwhile, by an attempt that it gave up. */
  #hasComeBack = false
  /** Rooms that were left and may have ended with that: whether they have is told once, perhaps much later. */
  readonly #left = new Map<string, number>()
  /** The last number of each sender during this stay, and all messages ever. */
  readonly #last = new Map<string, number>()
  readonly #heard = new Set<string>()

  constructor (userId: string) {
    this.userId = userId
  }

  get room (): string | undefined { return this.stay?.room }

  /** @throws AssertionError for a frame that cannot follow those before it */
  apply (frame: ServerMessage): void {
    assert.equal(this.self === undefined, frame.type === 'welcome', 'welcome is the first frame, and no other')
    assert.ok(!this.isSentAway || frame.type === 'resumed', 'nothing follows goaway')
    assert.ok(this.#announced === undefined || frame.type === 'user_joined' || frame.type === 'resumed', 'ready stands alone')
    switch (frame.type) {
      case 'welcome': {
        const { connection_id, user_id, username } = frame.data
        assert.equal(user_id, this.userId)
        this.self = { connection_id, user_id, username }
        break
      }
      case 'resumed': return this.#resumed(frame)
      case 'joined': return this.#joined(frame)
      case 'resynced':
        assert.equal(frame.room, this.room, 'resynced is for another room')
        this.version = frame.version
        this.members = byId(frame.data.members)
        assert.deepEqual(this.members.get(this.#id), this.self, 'resynced does not have the member it is sent to')
        break
      case 'ready':
        this.#announced = frame.data
        break
      case 'user_joined':
        assert.deepEqual(this.#announced, frame.data, 'ready announced somebody else')
        this.#announced = undefined
        this.#follow(frame)
        assert.ok(!this.members.has(frame.data.connection_id), 'somebody known has joined')
        this.members.set(frame.data.connection_id, frame.data)
        break
      case 'user_resumed':
        this.#follow(frame)
        assert.ok(frame.data.connection_id !== this.#id || this.#hasComeBack, 'a member is told that it goes on where it was')
        assert.deepEqual(this.members.get(frame.data.connection_id), frame.data, 'somebody unknown goes on')
        break
      case 'user_left':
        this.#follow(frame)
        assert.notEqual(frame.data.connection_id, this.#id, 'a member is told of its own leave')
        assert.deepEqual(this.members.get(frame.data.connection_id), frame.data, 'somebody unknown has left')
        this.members.delete(frame.data.connection_id)
        break
      case 'left':
        assert.equal(frame.data.room, this.room, 'left another room')
        this.#left.set(frame.data.room, (this.#left.get(frame.data.room) ?? 0) + 1)
        this.clear()
        break
      case 'room_disbanded': return this.#disbanded(frame)
      case 'data': return this.#hear(frame)
      case 'degraded':
        assert.notEqual(frame.data.redis, this.redis, 'told once more what was told last')
        this.redis = frame.data.redis
        break
      case 'goaway':
        this.isSentAway = true
        break
      case 'pong':
      case 'error':
        break
      default:
        assert.fail(`${frame.type} is nothing that this client should get`)
    }
  }

  /** It is in no room any more. */
  clear (): void {
    if (this.stay !== undefined) this.stay.until = now()
    this.stay = undefined
    this.version = 0
    this.members = new Map()
  }

  get #id (): string { return this.self?.connection_id ?? '' }

  /** It goes on over another wire, as it was when the one before was gone. */
  #resumed ({ data: { connection_id, user_id, username, room, version, members } }: FrameOf<'resumed'>): void {
    assert.deepEqual({ connection_id, user_id, username }, this.self)
    assert.deepEqual([room ?? undefined, version ?? 0], [this.room, this.version], 'it goes on elsewhere than it was')
    const others = new Map(this.members)
    others.delete(this.#id)
    assert.deepEqual([...byId(members)].toSorted(), [...others].toSorted(), 'others are there than it knew')
    this.isSentAway = false
    this.#hasComeBack = true
  }

  #joined (frame: FrameOf<'joined'>): void {
    const members = byId(frame.data.members)
    assert.ok(!members.has(this.#id), 'joined lists its receiver')
    assert.equal(frame.data.connection_id, this.#id)
    if (this.self !== undefined) members.set(this.#id, this.self)
    if (this.room === frame.room) { // joined the room it is in
      assert.equal(frame.version, this.version, 'the version has moved without a frame')
      assert.deepEqual([...members.keys()].toSorted(), [...this.members.keys()].toSorted(), 'the members have changed without a frame')
      return
    }
    assert.equal(this.room, undefined, 'joined a room before leaving another')
    this.stay = { room: frame.room, since: now(), version: frame.version, until: Infinity }
    this.version = frame.version
    this.members = members
    this.#last.clear()
    this.#left.delete(frame.room) // that life goes on, or its end was told
  }

  #disbanded ({ data: { room, reason } }: FrameOf<'room_disbanded'>): void {
    if (reason === 'last_member_left') {
      const times = this.#left.get(room) ?? 0
      assert.ok(times > 0, 'the end of a room that was not left')
      this.#left.set(room, times - 1)
    } else {
      assert.equal(room, this.room, 'the end of a room that it is not in')
      this.clear()
    }
  }

  #follow ({ room, version }: { room: string, version: number }): void {
    assert.equal(room, this.room, 'a change of another room')
    assert.equal(version, this.version + 1, 'a gap, or a repetition')
    this.version = version
  }

  #hear ({ from, room, to, data }: FrameOf<'data'>): void {
    assert.equal(room, this.room, 'data of another room')
    assert.notEqual(from.connection_id, this.#id, 'its own data came back')
    assert.deepEqual(this.members.get(from.connection_id), from, 'data from somebody unknown')
    assert.ok(to === undefined || to === this.#id || to === this.userId, 'data for somebody else')
    const { by, n, room: meant = room } = data as Said
    assert.equal(by, from.connection_id, 'data under another name')
    assert.equal(meant, room, 'data that was said in another room')
    assert.ok(!this.#heard.has(`${by} ${n}`), 'data came twice')
    assert.ok(n > (this.#last.get(by) ?? -1), `data out of order, after ${this.#last.get(by) ?? -1}`)
    this.#heard.add(`${by} ${n}`)
    this.#last.set(by, n)
  }
}

function byId (members: readonly PeerInfo[]): Map<string, PeerInfo> {
  return new Map(members.map(({ connection_id, user_id, username }) => [connection_id, { connection_id, user_id, username }]))
}

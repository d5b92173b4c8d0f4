import assert from 'node:assert/strict'
import type { PeerInfo, ServerMessage } from '../../src/protocol/messages.ts'

/** What these tests put into `data` where order matters: the sender's own count, and the room it believes to be in. */
export interface Numbered { n: number, room?: string }

/**
 * What a client knows of its room by the frames that it got, in their order. Every frame must be one that can follow
 * those before it: versions without a gap, leaves of members, data from members, no message twice, and each sender's in
 * the order sent as long as both stay in the room. (Who moves hears of the old room until it has left it, and then what
 * the new one said meanwhile: that may be older.)
 */
export class View {
  readonly self: PeerInfo
  room: string | undefined
  version = 0
  members = new Map<string, PeerInfo>()
  #announced: PeerInfo | undefined
  #ended: string | undefined
  /** The last number of each sender during this stay in a room, and all messages ever. */
  readonly #last = new Map<string, number>()
  readonly #heard = new Set<string>()
  readonly #mayStartOver: boolean
  readonly #mayLearnLate: boolean

  /**
   * @param mayStartOver whether a room may have ended behind the member's back (it was cut off): it then counts from 1 again
   * @param mayLearnLate whether answers of the store may be lost
   */
  constructor (self: PeerInfo, { mayStartOver = false, mayLearnLate = false } = {}) {
    this.self = self
    this.#mayStartOver = mayStartOver
    this.#mayLearnLate = mayLearnLate
  }

  /** connection_ids, its own too, sorted. */
  get ids (): string[] { return [...this.members.keys()].toSorted() }

  /** @throws AssertionError for a frame that cannot follow those before it */
  apply (frame: ServerMessage): void {
    const what = `${JSON.stringify(frame)} of ${this.self.user_id}, in ${this.room ?? 'no room'} at ${this.version} with ${[...this.members.keys()].join()}`
    assert.ok(this.#announced === undefined || frame.type === 'user_joined', `ready stands alone before ${what}`)
    switch (frame.type) {
      case 'joined': {
        const members = new Map(frame.data.members.map(({ joined_at, ...info }) => [info.connection_id, info]))
        assert.ok(!members.has(this.self.connection_id), what)
        members.set(this.self.connection_id, this.self)
        if (this.room === frame.room) {
          assert.equal(frame.version, this.version, what)
          assert.deepEqual([...members.keys()].toSorted(), this.ids, what)
          break
        }
        assert.equal(this.room, undefined, what)
        Object.assign(this, { room: frame.room, version: frame.version, members })
        this.#last.clear()
        break
      }
      case 'resynced': {
        assert.equal(frame.room, this.room, what)
        // At the same version: a store that had lost its memory has got the room back, without one who had left meanwhile.
        assert.ok(this.#mayStartOver || frame.version >= this.version, what)
        this.version = frame.version
        this.members = new Map(frame.data.members.map(({ joined_at, ...info }) => [info.connection_id, info]))
        break
      }
      case 'ready':
        this.#announced = frame.data
        break
      case 'user_joined':
        assert.deepEqual(this.#announced, frame.data, what)
        this.#announced = undefined
        this.#follow(frame.room, frame.version, what)
        assert.ok(!this.members.has(frame.data.connection_id), what)
        this.members.set(frame.data.connection_id, frame.data)
        break
      case 'user_resumed': // who has moved is told of it too: its versions have no gap either
        this.#follow(frame.room, frame.version, what)
        assert.deepEqual(this.members.get(frame.data.connection_id), frame.data, what)
        break
      case 'user_left':
        this.#follow(frame.room, frame.version, what)
        assert.deepEqual(this.members.get(frame.data.connection_id), frame.data, what)
        this.members.delete(frame.data.connection_id)
        break
      case 'left':
        assert.equal(frame.data.room, this.room, what)
        this.#ended = this.room
        this.#clear()
        break
      case 'room_disbanded':
        if (frame.data.reason === 'last_member_left') {
          // Where answers are lost, whether it was the last may turn out when it has long been elsewhere.
          if (this.#mayLearnLate && frame.data.room !== this.room) break
          assert.equal(this.room, undefined, what)
          assert.equal(frame.data.room, this.#ended, what)
          this.#ended = undefined
        } else {
          assert.equal(frame.data.room, this.room, what)
          this.#clear()
        }
        break
      case 'data':
        this.#hear(frame, what)
        break
    }
  }

  #hear ({ from, room, to, data }: Extract<ServerMessage, { type: 'data' }>, what: string): void {
    assert.equal(room, this.room, what)
    assert.notEqual(from.connection_id, this.self.connection_id, what)
    assert.deepEqual(this.members.get(from.connection_id), from, what)
    assert.ok(to === undefined || to === this.self.connection_id || to === this.self.user_id, what)
    const { n, room: meant = room } = data as Numbered
    assert.equal(room, meant, `sent in another room: ${what}`)
    const last = this.#last.get(from.connection_id) ?? -1
    assert.ok(n > last, `out of order, after ${last}: ${what}`)
    this.#last.set(from.connection_id, n)
    const message = `${from.connection_id} ${n}`
    assert.ok(!this.#heard.has(message), `twice: ${what}`)
    this.#heard.add(message)
  }

  #follow (room: string, version: number, what: string): void {
    assert.equal(room, this.room, what)
    assert.equal(version, this.version + 1, `a gap: ${what}`)
    this.version = version
  }

  #clear (): void {
    Object.assign(this, { room: undefined, version: 0, members: new Map<string, PeerInfo>() })
  }
}

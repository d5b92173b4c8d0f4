/** What holds of sessions: of what instances tell each other of them, of what clients show, and of what is kept. */
import assert from 'node:assert/strict'
import fc, { type Arbitrary } from 'fast-check'
import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import { frameOf, payloadOf, relayFrame, typeOf, type Frame } from '../../src/protocol/frame.ts'
import { serverMessageTypes, type ServerMessage } from '../../src/protocol/messages.ts'
import { decodeHandover, encodeForwarded, encodeMessage, type HandoverMessage, type HandoverRecord } from '../../src/rooms/handover-record.ts'
import { Handovers } from '../../src/rooms/handover.ts'
import { Session } from '../../src/routes/session.ts'
import { SessionTokens } from '../../src/routes/session-token.ts'
import { messageText, mutate } from './json-text.ts'
import { property, type Property } from './property.ts'
import { frames as framesIn } from './server-frames.ts'

const id = fc.oneof(fc.constantFrom('a', 'b', 'k', '__proto__'), fc.string({ unit: fc.constantFrom(...'abc012-:.~'), maxLength: 60 }))
const text = fc.string({ unit: 'binary', maxLength: 20 })
const count = fc.oneof({ weight: 9, arbitrary: fc.nat(20) }, { weight: 1, arbitrary: fc.constantFrom(-1, 1.5, 2 ** 53, 1e300, null, '1') })
const member = fc.record({ connection_id: id, user_id: text, username: text, joined_at: fc.nat() }, { noNullPrototype: true })
const peer = fc.record({ connection_id: id, user_id: text, username: text }, { noNullPrototype: true })

/** What servers say, now and then without a field or with a wrong one. */
const said = fc.oneof(
  fc.record({ type: fc.constantFrom('joined', 'resynced'), room: id, version: count, data: fc.record({ room: id, members: fc.array(member, { maxLength: 4 }) }, { noNullPrototype: true }) }, { noNullPrototype: true }),
  fc.record({ type: fc.constantFrom('user_joined', 'user_resumed', 'user_left'), room: id, version: count, data: peer }, { requiredKeys: ['type'], noNullPrototype: true }),
  fc.record({ type: fc.constantFrom('left', 'room_disbanded'), data: fc.oneof({ weight: 5, arbitrary: fc.record({ room: id, reason: fc.constant('user_requested') }, { noNullPrototype: true }) }, { weight: 1, arbitrary: fc.anything() }) }, { noNullPrototype: true }),
  fc.record({ type: fc.constantFrom(...serverMessageTypes, 'what', '__proto__') }, { noNullPrototype: true })
)
const frame: Arbitrary<Frame> = fc.oneof(
  { weight: 4, arbitrary: said.map(message => frameOf(JSON.parse(jsonOf(message)) as ServerMessage)) },
  { weight: 3, arbitrary: messageText.map(message => relayFrame(Buffer.from('{"from":{"n":1},"room":"r",'), Buffer.from(message))) },
  { weight: 1, arbitrary: messageText.map(message => relayFrame(Buffer.alloc(0), Buffer.from(`x${message}`))) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)) }
)
const view = fc.oneof(fc.constant(null), fc.record({ room: id, version: count, members: fc.array(member, { maxLength: 3 }) }, { noNullPrototype: true }))
const life = fc.oneof(fc.constant(null), fc.record({ room: id, epoch: id }, { noNullPrototype: true }))
const message = fc.oneof(
  fc.record({ kind: fc.constant('ask'), request: id, key: id, seen: count, user_id: id, connection_id: id }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constant('refused'), request: id, elsewhere: id }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constant('gone'), request: id }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constant('given'), request: id, username: text, received: count, watching: fc.boolean(), reached: fc.boolean(), view, room: life }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constantFrom('passed', 'done', 'aborted'), connection_id: id, version: count }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.anything()
)
const mutation = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.nat(), fc.nat(255))

/** Records of hand-overs as instances send them, some of them changed in one place, some of them anything. */
export const handoverBytes: Arbitrary<Buffer> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(message, fc.array(frame, { maxLength: 3 })).map(([value, frames]) => encodeMessage(JSON.parse(jsonOf(value)) as HandoverMessage, frames)) },
  { weight: 3, arbitrary: fc.tuple(id, frame).map(([connectionId, value]) => encodeForwarded(connectionId, value)) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(3, 4), fc.uint8Array({ maxLength: 60 })).map(([kind, bytes]) => Buffer.from([kind, ...bytes])) }
).chain(bytes => mutation.map(([how, at, byte]) => mutate(Buffer.from(bytes), how, at, byte)))

function jsonOf (value: unknown): string {
  try { return JSON.stringify(value) ?? 'null' } catch { return 'null' } // a BigInt, say
}

/** What a record is, if it is one. @throws AssertionError when it is refused with anything but what the broker expects */
function decoded (bytes: Buffer): HandoverRecord | undefined {
  try {
    return decodeHandover(bytes)
  } catch (error) {
    assert.ok(error instanceof RangeError || error instanceof SyntaxError, String(error))
    return undefined
  }
}

const log = { error () {} }
const owner = { spent () {}, ended () {} }
const handovers = new Handovers(new MemoryBroker('one', new MemoryExchange(), log), { move: async () => undefined, isWatching: () => false, watch: async () => {} })
handovers.serve({ isOver: false, giveUp: async () => undefined })

const user = fc.oneof(fc.constantFrom('ann', 'bob', ''), fc.string({ unit: 'binary', maxLength: 30 }))
const claim = fc.record({ key: fc.string({ unit: fc.constantFrom(...'abcXYZ019_-'), minLength: 22, maxLength: 22 }), instance: text, connectionId: text }, { noNullPrototype: true })
const tokens = new SessionTokens(['a secret', 'the one before'], 'realm')
const others = [new SessionTokens(['another secret'], 'realm'), new SessionTokens(['a secret'], 'other')]

/** What happens to a session: a frame is sent, or handled; the client says what it has; it comes back, rightly or not. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ what: fc.constant('push' as const), size: fc.constantFrom(1, 1, 1, 50, 5000, 60_000) }) },
  { weight: 3, arbitrary: fc.constant({ what: 'handled' as const }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('saw' as const), back: fc.integer({ min: -3, max: 300 }) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('resume' as const), back: fc.integer({ min: -2, max: 20 }), former: fc.boolean() }) }
)
const numbered = (n: number, size: number): Frame => frameOf({ type: 'data', from: { connection_id: 'b', user_id: 'b', username: 'b' }, room: 'r', data: [n, 'x'.repeat(size)] })
const numberOf = (kept: Frame): number => (payloadOf(kept) as unknown as { data: [number] }).data[0]

export const sessionProperties: readonly Property[] = [
  property('a record of a hand-over is what instances write, or is refused as a whole; what a client is said by it makes no session throw', handoverBytes, bytes => {
    const record = decoded(bytes)
    if (record === undefined) return
    const session = new Session(owner)
    for (const one of record.kind === 'forwarded' ? [record.frame] : record.frames) {
      const [whole, ...more] = framesIn(one)
      assert.deepEqual({ opcode: whole?.opcode, more }, { opcode: 1, more: [] })
      assert.ok(serverMessageTypes.includes(typeOf(one)), typeOf(one))
      session.push(one)
    }
    session.saw(Infinity)
    const { missed, view: known } = session.resume(session.key, record.kind === 'forwarded' ? 1 : record.frames.length) ?? assert.fail('all was seen')
    assert.deepEqual(missed, [])
    if (known !== undefined) assert.deepEqual([typeof known.room, Number.isSafeInteger(known.version), Array.isArray(known.members)], ['string', true, true])
    if (record.kind === 'forwarded') return assert.deepEqual(encodeForwarded(record.connectionId, record.frame), bytes)
    assert.deepEqual(decoded(encodeMessage(record.message, record.frames)), record)
  }),

  property('records of hand-overs that nobody waits for, from anybody and in any order, do nothing', fc.array(fc.tuple(handoverBytes, id), { maxLength: 10 }), records => {
    for (const [bytes, origin] of records) {
      try {
        handovers.receive(bytes, origin)
      } catch (error) {
        assert.ok(error instanceof RangeError || error instanceof SyntaxError, String(error))
      }
    }
  }),

  property('a session opens for whom it was given to, and for nobody else; one that is changed says what it said, or nothing', fc.tuple(claim, user, user, mutation), ([given, ann, bob, [how, at, byte]]) => {
    const session = tokens.issue(given, ann)
    assert.deepEqual(tokens.read(session, ann), given)
    if (ann !== bob) assert.equal(tokens.read(session, bob), undefined)
    for (const other of others) assert.equal(other.read(session, ann), undefined)
    const changed = mutate(Buffer.from(session), how, at, byte).toString('latin1')
    const read = tokens.read(changed, ann)
    assert.ok(read === undefined || JSON.stringify(read) === JSON.stringify(given), changed)
  }),

  property('what is no session opens for nobody', fc.tuple(fc.oneof(messageText, text, fc.tuple(messageText, text).map(([one, other]) => `${Buffer.from(one).toString('base64url')}.${Buffer.from(other).toString('base64url')}`)), user), ([shown, anybody]) => {
    assert.equal(tokens.read(shown, anybody), undefined)
  }),

  property('a client that goes on gets all that it has not seen, in order, or cannot go on; what is kept for it is bounded', fc.array(step, { maxLength: 80 }), steps => {
    const session = new Session(owner)
    let sent = 0
    let handled = 0
    let name = { key: session.key, sent, handled }
    let former: typeof name | undefined
    for (const one of steps) {
      if (one.what === 'push') {
        session.push(numbered(sent++, one.size))
      } else if (one.what === 'handled') {
        session.handled()
        handled++
        former = undefined
      } else if (one.what === 'saw') {
        session.saw(Math.max(0, sent - name.sent - one.back))
      } else {
        const shown = one.former && former !== undefined ? former : name
        const seen = sent - shown.sent - one.back
        const resumption = session.resume(shown.key, seen)
        if (one.back < 0 || seen < 0) assert.equal(resumption, undefined, 'it has seen what was never sent')
        if (resumption === undefined) continue
        const { missed } = resumption
        assert.deepEqual(missed.map(numberOf), Array.from({ length: one.back }, (_, i) => sent - one.back + i))
        assert.ok(missed.length <= 256 && missed.reduce((sum, { length }) => sum + length, 0) <= 1024 * 1024)
        assert.equal(resumption.received, handled - shown.handled)
        former = shown
        name = { key: session.key, sent: sent - one.back, handled }
      }
      assert.equal(session.received, handled - name.handled)
      assert.deepEqual(session.keys, former === undefined ? [name.key] : [name.key, former.key])
    }
  })
]

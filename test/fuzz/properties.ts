/** What holds of whatever reaches a decoder. Each property is checked with as many cases as its caller likes. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import fc, { type Arbitrary } from 'fast-check'
import type { Redis } from 'ioredis'
import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import { RedisBroker } from '../../src/broker/redis-broker.ts'
import { MemoryPresence } from '../../src/presence/memory-presence.ts'
import { errorCodes } from '../../src/protocol/codes.ts'
import { decode, isRelayable } from '../../src/protocol/decode.ts'
import { frameOf, isRelayed, relayFrame, typeOf, type Frame } from '../../src/protocol/frame.ts'
import type { ClientMessageOf } from '../../src/protocol/messages.ts'
import { Refusal } from '../../src/protocol/refusal.ts'
import { Hub } from '../../src/rooms/hub.ts'
import { infoOf } from '../../src/rooms/peer.ts'
import { decodeRecord, encodeRecord, type ChangeRecord, type DataRecord } from '../../src/rooms/record.ts'
import { RoomService } from '../../src/rooms/room-service.ts'
import { Seat } from '../../src/rooms/seat.ts'
import { RecordingPeer, textOf } from '../harness/recording-peer.ts'
import { frames as framesIn } from './server-frames.ts'
import { expectedOf } from './expected.ts'
import { messageBytes, messageText, mutate } from './json-text.ts'
import { property, type Property } from './property.ts'
import { handoverBytes, sessionProperties } from './session-properties.ts'

/** A room on one instance: `ann`, who speaks, and `bob` twice. */
const log = { debug () {}, info () {}, warn () {}, error () {} }
const exchange = new MemoryExchange()
const service = new RoomService({ presence: new MemoryPresence(event => { exchange.announce(event) }), broker: new MemoryBroker('one', exchange, log), log, maxMembers: 0 })
const ann = new RecordingPeer('ann', { username: 'A"nn\\ \u{1F600}' })
const bobs = [new RecordingPeer('bob/1'), new RecordingPeer('b')]
await service.open()
for (const peer of [ann, ...bobs]) await service.join(peer, { room: 'r' })

/** What the room is sent of a message; undefined when it was refused. */
function relayed (message: ClientMessageOf<'data'>, text: Buffer): Frame | undefined {
  for (const bob of bobs) bob.raw.length = 0
  try {
    service.relay(ann, message, text)
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    assert.ok(error.code in errorCodes, error.code)
    return undefined
  }
  const sent = bobs.flatMap(bob => bob.raw)
  assert.notEqual(sent.length, 0)
  for (const frame of sent) assert.equal(frame, sent[0], 'all of them get the same bytes')
  return sent[0]
}

/** Too deep for JSON.stringify, and for deepEqual. */
function isDeep (value: unknown): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; depth < 500; depth++) {
    level = level.flatMap(item => typeof item === 'object' && item !== null ? Object.values(item) : [])
    if (level.length === 0) return false
  }
  return true
}

const whole = fc.tuple(fc.integer({ min: 1, max: 100 }), messageText).map(([n, text]) => relayFrame(Buffer.from(`{"from":{"n":${n}},"room":"r",`), Buffer.from(text)))
const name = fc.string({ unit: fc.constantFrom(...'abcXYZ019_-.:@'), maxLength: 128 })
const user = fc.string({ unit: 'binary', maxLength: 20 })
const version = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 10 }) }, { weight: 1, arbitrary: fc.constantFrom(0, -1, 1.5, 2 ** 53, 1e300, null, '1', '__proto__') })
const member = fc.record({ connection_id: fc.oneof(name, fc.constantFrom('ann', 'b', '__proto__')), user_id: user, username: user, instance: fc.constantFrom('one', 'two', '__proto__'), joined_at: fc.nat() }, { noNullPrototype: true })
const change = fc.oneof(
  fc.record({ kind: fc.constantFrom('joined', 'moved'), version, member }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constant('left'), version, connectionId: fc.oneof(name, fc.constantFrom('ann', 'b', null, 1)) }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.record({ kind: fc.constant('disbanded'), version, reason: fc.constantFrom('last_member_left', 'user_requested', 'x', null) }, { requiredKeys: ['kind'], noNullPrototype: true }),
  fc.anything()
)
const mutation = fc.tuple(fc.integer({ min: 0, max: 7 }), fc.nat(), fc.nat(255))
/** Records as instances send them, some of them changed in one place, some of them anything. */
const recordBytes = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(name, name, name, fc.array(name, { maxLength: 5 }), whole).map(([epoch, room, sender, targets, frame]) => encodeRecord({ kind: 'data', epoch, room, sender, targets, frame })) },
  { weight: 5, arbitrary: fc.tuple(name, name, change).map(([epoch, room, value]) => Buffer.concat([Buffer.of(2, epoch.length), Buffer.from(epoch), Buffer.of(room.length), Buffer.from(room), Buffer.from(jsonOf(value))])) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes)) }
).chain(bytes => mutation.map(([how, at, byte]) => mutate(Buffer.from(bytes), how, at, byte)))

function jsonOf (value: unknown): string {
  try { return String(JSON.stringify(value)) } catch { return 'null' } // a BigInt, say
}

/** What a record is, if it is one. @throws AssertionError when it is refused with anything but what the broker expects */
function decodedRecord (bytes: Buffer): DataRecord | ChangeRecord | undefined {
  try {
    return decodeRecord(bytes)
  } catch (error) {
    assert.ok(error instanceof RangeError || error instanceof SyntaxError, String(error))
    return undefined
  }
}

/** A broker of Redis whose server we are. */
function brokerOf (onRecord: (record: Buffer, origin: string) => void, onLobby: (event: object) => void): { receive (channel: string, bytes: Buffer): void, errors: unknown[] } {
  const errors: unknown[] = []
  const subscriber = Object.assign(new EventEmitter(), { status: 'wait', subscribe: async () => {} })
  const broker = new RedisBroker({
    nonce: 'one',
    commands: { isCluster: false } as Redis,
    subscriber: subscriber as unknown as Redis,
    names: { inbox: nonce => `inbox:${nonce}`, lobby: 'lobby' },
    measure: async (_operation, run) => await run(),
    timeoutMs: 1000,
    log: { debug () {}, error: ({ err }: { err?: unknown }) => { errors.push(err) } }
  })
  void broker.open({ onRecord, onLobby, onInterrupted () {}, onRestored () {}, onMissed () {} })
  return { errors, receive: (channel, bytes) => { subscriber.emit('messageBuffer', Buffer.from(channel), bytes) } }
}

let heard: Buffer[] = []
let origins = new Set<string>()
let announced: object[] = []
const { receive, errors } = brokerOf((record, origin) => { heard.push(record); origins.add(origin); if (record[0] === 3) throw new RangeError('no record') }, event => { announced.push(event) })
await new Promise(setImmediate)

function batchOf (records: readonly Buffer[], origin = 'two'): Buffer {
  return Buffer.concat([Buffer.of(2, origin.length), Buffer.from(origin, 'latin1'), ...records.flatMap(record => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(record.length)
    return [length, record]
  })])
}

/** Batches as they come over Redis, some of them broken. */
export const batchBytes: Arbitrary<Buffer> = fc.tuple(fc.array(fc.oneof({ weight: 2, arbitrary: recordBytes }, { weight: 1, arbitrary: handoverBytes }), { maxLength: 6 }), mutation).map(([records, [how, at, byte]]) => mutate(batchOf(records), how, at, byte))

const hostile = { epoch: 'e', instance: 'two' }

/** All of them. */
export const properties: readonly Property[] = [
  property('what is decoded is what the schema says, and a refusal has a code', messageBytes, bytes => {
    const { message, refused } = decode(bytes)
    const expected = expectedOf(bytes)
    if ('code' in expected) {
      assert.deepEqual({ code: refused?.code, id: refused?.id }, expected)
      const frame = frameOf({ type: 'error', error: refused?.sentence ?? 'x', code: expected.code, ...(refused?.id !== undefined && { id: refused.id }) })
      assert.equal((JSON.parse(textOf(frame)) as { id?: unknown }).id, expected.id === 0 ? 0 : expected.id) // -0 comes back as 0
      return
    }
    assert.equal(refused, undefined)
    if (!isDeep(message)) assert.deepEqual(message, expected.message)
  }),

  property('what is relayed as it was written reads as if it were made anew, for every reader', messageText, text => {
    const bytes = Buffer.from(text)
    const { message } = decode(bytes)
    if (message?.type !== 'data') return
    const frame = relayed(message, bytes)
    if (frame === undefined) {
      assert.ok(isDeep(message.data) || !['bob', 'b'].includes(message.to ?? 'b'), 'a message was refused that is none of the wrong ones')
      return
    }
    const [one, ...more] = framesIn(frame)
    assert.deepEqual({ opcode: one?.opcode, isFinal: one?.isFinal, more }, { opcode: 1, isFinal: true, more: [] })
    assert.equal(typeOf(frame), 'data')
    assert.equal(isRelayed(frame), true)
    const out = textOf(frame)
    const read = JSON.parse(out) as Record<string, unknown>
    const { data, ...head } = read
    assert.deepEqual(head, { type: 'data', from: infoOf(ann), room: 'r', ...(message.to !== undefined && { to: message.to }) })
    assert.deepEqual(Object.keys(read).toSorted(), ['data', 'from', 'room', 'type', ...(message.to === undefined ? [] : ['to'])].toSorted())
    if (!isDeep(data)) {
      // Numbers that JSON cannot repeat (1e999) and -0 survive in the client's own bytes alone.
      assert.deepEqual(data, isRelayable(bytes, message) ? message.data : JSON.parse(JSON.stringify(message.data)))
    }
    // A reader that takes the first of two equal keys must not be misled about who said it, and what it is.
    assert.match(out, isRelayable(bytes, message) ? /^\{"from":\{[^{}]*\},"room":"r","type":"data",/ : /^\{"type":"data","from":\{[^{}]*\},"room":"r","data":/)
  }),

  property('a record that is not as instances write it is refused as a whole, and nothing of it is taken for something else', recordBytes, bytes => {
    const record = decodedRecord(bytes)
    if (record === undefined) return
    if (record.kind === 'data') {
      assert.equal(isRelayed(record.frame), true)
      const [frame, ...more] = framesIn(record.frame)
      assert.deepEqual({ opcode: frame?.opcode, more }, { opcode: 1, more: [] })
      assert.deepEqual(encodeRecord(record), bytes)
      return
    }
    const { kind, version } = record.change
    assert.ok(Number.isSafeInteger(version) && version >= 1, 'a version')
    if (kind === 'joined' || kind === 'moved') for (const field of ['connection_id', 'user_id', 'username', 'instance'] as const) assert.equal(typeof record.change.member[field], 'string')
    else if (kind === 'left') assert.equal(typeof record.change.connectionId, 'string')
    else assert.ok(['last_member_left', 'user_requested'].includes(record.change.reason), 'a reason')
  }),

  property('a batch hands over its records as they were put in, and from whom, and one that is cut off hands over those before the cut', fc.tuple(fc.array(recordBytes, { maxLength: 6 }), name, mutation), ([records, sender, [how, at, byte]]) => {
    const batch = batchOf(records, sender)
    heard = []
    origins = new Set()
    receive('inbox:one', batch)
    assert.deepEqual(heard, records)
    assert.deepEqual([...origins], records.length > 0 ? [sender] : [])
    const cut = batch.subarray(0, at % (batch.length + 1))
    heard = []
    receive('inbox:one', cut)
    assert.deepEqual(heard, records.slice(0, heard.length))
    heard = []
    receive('inbox:one', mutate(Buffer.from(batch), how, at, byte))
    assert.ok(heard.length <= batch.length, 'more records than bytes')
    for (const error of errors.splice(0)) assert.ok(error instanceof RangeError, String(error))
  }),

  property('an announcement in the lobby is one of the two, or nobody hears of it', fc.oneof(messageText, fc.record({ type: fc.constantFrom('room_created', 'room_disbanded', 'room_x'), room: fc.anything(), epoch: fc.oneof(name, fc.anything()), reason: fc.constantFrom('last_member_left', 'user_requested', 'x', null) }, { requiredKeys: [] }).map(jsonOf)), text => {
    announced = []
    receive('lobby', Buffer.from(text))
    for (const event of announced as LobbyEvent[]) {
      assert.ok(event.type === 'room_created' || ['last_member_left', 'user_requested'].includes(event.reason), 'an announcement')
      assert.deepEqual([typeof event.room, typeof event.epoch], ['string', 'string'])
    }
    for (const error of errors.splice(0)) assert.ok(error instanceof RangeError || error instanceof SyntaxError, String(error))
  }),

  property('records of changes, in any order and with any content, make no roster throw, and what the store says is right in the end', fc.array(change, { maxLength: 12 }), list => {
    const hub = new Hub('one', { onGap () {}, onDisbanded (roster) { hub.release(roster) }, onMoved () {}, onReplaced () {} })
    const self = { connection_id: 'ann', user_id: 'ann', username: 'ann', instance: 'one', joined_at: 1 }
    const roster = hub.open('r', { epoch: hostile.epoch, version: 1, members: [self] }, 'ann')
    const peer = new RecordingPeer('ann')
    roster.receive({ kind: 'joined', version: 1, member: self }, new Seat(peer, roster, false))
    for (const value of list) {
      const record = decodedRecord(Buffer.concat([Buffer.of(2, 1), Buffer.from('e'), Buffer.of(1), Buffer.from('r'), Buffer.from(jsonOf(value))]))
      if (record !== undefined) hub.receive(record)
    }
    if (roster.ended || roster.seats.length === 0) return // its member may be said to have moved
    const members = [self, { ...self, connection_id: 'cid', instance: hostile.instance }]
    roster.suspend()
    roster.adopt({ epoch: 'f', version: 3, members })
    assert.deepEqual({ epoch: roster.epoch, version: roster.version, members: roster.members() }, { epoch: 'f', version: 3, members: members.map(({ instance, ...info }) => info) })
    const last = peer.frames.at(-1)
    assert.ok(last?.type === 'resynced' && last.data.members.length === 2, 'its member was told')
  }),

  ...sessionProperties
]

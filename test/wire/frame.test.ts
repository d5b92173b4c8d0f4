import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import WebSocket from 'ws'
import { frameOf, relayFrame, relayPrefix, typeOf, type Frame } from '../../src/protocol/frame.ts'
import type { PeerInfo, ServerMessage } from '../../src/protocol/messages.ts'
import { decodeRecord, encodeRecord, type ChangeRecord, type DataRecord } from '../../src/rooms/record.ts'
import { textOf } from '../harness/recording-peer.ts'

const FROM: PeerInfo = { connection_id: 'c', user_id: 'üser "1"', username: 'Ann\\a \u{1F600}' }

/** A message whose JSON is so many bytes long. */
function messageOf (length: number): ServerMessage {
  const rest = length - JSON.stringify({ type: 'pong', id: '' }).length
  assert.ok(rest >= 0)
  return { type: 'pong', id: 'x'.repeat(rest) }
}

/** Sends bytes, as they are, to a real WebSocket client and hands back what it makes of them. */
async function receive (frames: Frame[]): Promise<string[]> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', head => {
      const key = /sec-websocket-key: (\S+)/i.exec(head.toString())?.[1] ?? ''
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
      socket.write(Buffer.concat(frames))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, { perMessageDeflate: false })
  const texts: string[] = []
  try {
    await new Promise<void>((resolve, reject) => {
      client.on('message', (data: Buffer, isBinary) => {
        assert.equal(isBinary, false)
        texts.push(data.toString())
        if (texts.length === frames.length) resolve()
      })
      client.on('error', reject)
    })
  } finally {
    client.terminate()
    server.close()
  }
  return texts
}

test('a real client reads frames around every length of the header as they were meant', async () => {
  const lengths = [30, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 200_000]
  const messages = lengths.map(messageOf)
  const frames = messages.map(frameOf)
  const headers = frames.map((frame, i) => frame.length - (lengths[i] ?? 0))
  assert.deepEqual(headers, [2, 2, 2, 4, 4, 4, 4, 4, 10, 10, 10])
  const texts = await receive(frames)
  assert.deepEqual(texts.map(text => Buffer.byteLength(text)), lengths)
  assert.deepEqual(texts.map(text => JSON.parse(text) as unknown), messages)
})

test('a relayed frame is the client\'s own bytes behind who sent them, at every length of the header', async () => {
  const prefix = relayPrefix(FROM, 'r')
  assert.equal(prefix.toString(), `{"from":${JSON.stringify(FROM)},"room":"r",`)
  const bare = '{"type":"data","data":""}'
  const fixed = prefix.length + bare.length - 1
  const texts = [fixed, 125, 126, 127, 65_535, 65_536, 70_000].map(length => bare.replace('""', `"${'x'.repeat(Math.max(0, length - fixed))}"`))
  const frames = texts.map(text => relayFrame(prefix, Buffer.from(text)))
  const received = await receive(frames)
  for (const [i, text] of texts.entries()) assert.equal(received[i], `${prefix.toString()}${text.slice(1)}`)
})

test('an empty payload of a relayed frame is framed too', async () => {
  assert.deepEqual(await receive([relayFrame(Buffer.alloc(0), Buffer.from('x')), relayFrame(Buffer.from('{'), Buffer.from('{}'))]), ['', '{}'])
})

test('any message is the same after framing', () => {
  fc.assert(fc.property(fc.json(), fc.string({ unit: 'grapheme' }), (json, name) => {
    const message: ServerMessage = { type: 'data', from: { ...FROM, username: name }, room: 'r', data: JSON.parse(json) as unknown }
    assert.equal(textOf(frameOf(message)), JSON.stringify(message))
  }), { numRuns: 500 })
})

test('the type of a frame is read off its bytes, whatever its length', () => {
  const info = FROM
  const messages: ServerMessage[] = [
    { type: 'welcome', data: { ...info, instance_id: 'i', ping_interval_ms: 1 } },
    { type: 'joined', room: 'r', version: 1, data: { room: 'r', connection_id: 'c', members: Array.from({ length: 1000 }, () => ({ ...info, joined_at: 1 })) } },
    { type: 'left', data: { room: 'r' } }, { type: 'ready', data: info }, { type: 'user_joined', room: 'r', version: 2, data: info }, { type: 'user_left', room: 'r', version: 3, data: info },
    { type: 'resynced', room: 'r', version: 4, data: { room: 'r', members: [] } }, { type: 'room_created', data: { room: 'r' } },
    { type: 'room_disbanded', data: { room: 'r', reason: 'user_requested' } }, { type: 'watching' }, { type: 'unwatched', id: 1 }, { type: 'refreshed', data: { expires_at: null } },
    { type: 'pong', id: 'x'.repeat(200) }, { type: 'goaway', data: { reason: 'restart', reconnect_after_ms: 1 } }, { type: 'degraded', data: { redis: 'down' } },
    { type: 'error', error: 'A sentence', code: 'internal' }, messageOf(100), messageOf(126), messageOf(70_000)
  ]
  for (const message of messages) assert.equal(typeOf(frameOf(message)), message.type)
  assert.equal(typeOf(relayFrame(relayPrefix(FROM, 'r'), Buffer.from('{"type":"data","data":1}'))), 'data')
})

const ascii = fc.string({ unit: fc.constantFrom(...'abcXYZ019_-.:@'), minLength: 0, maxLength: 255 })

test('any record of data is the same after its journey', () => {
  fc.assert(fc.property(ascii, ascii, ascii, fc.array(ascii, { maxLength: 20 }), fc.uint8Array({ minLength: 1, maxLength: 300 }), (epoch, room, sender, targets, payload) => {
    const frame = relayFrame(relayPrefix(FROM, 'r'), Buffer.from(payload))
    const record: DataRecord = { kind: 'data', epoch, room, sender, targets, frame }
    const { frame: back, ...rest } = decodeRecord(encodeRecord(record)) as DataRecord
    assert.deepEqual(rest, { kind: 'data', epoch, room, sender, targets })
    assert.deepEqual([...back], [...frame])
  }), { numRuns: 1000 })
})

test('any record of a change is the same after its journey', () => {
  const version = fc.nat().map(n => n + 1)
  const member = fc.record({ connection_id: ascii, user_id: fc.string({ unit: 'binary' }), username: fc.string({ unit: 'grapheme' }), instance: ascii, joined_at: fc.nat() })
  const change = fc.oneof(
    fc.record({ kind: fc.constant('joined' as const), version, member }),
    fc.record({ kind: fc.constant('left' as const), version, connectionId: ascii }),
    fc.record({ kind: fc.constant('disbanded' as const), version, reason: fc.constantFrom('last_member_left' as const, 'user_requested' as const) })
  )
  fc.assert(fc.property(ascii, ascii, change, (epoch, room, change) => {
    const record: ChangeRecord = { kind: 'change', epoch, room, change }
    assert.deepEqual(decodeRecord(encodeRecord(record)), JSON.parse(JSON.stringify(record)))
  }), { numRuns: 500 })
})

test('a record is as long as what is in it, with no JSON around a payload', () => {
  const frame = Buffer.alloc(1000)
  const record = encodeRecord({ kind: 'data', epoch: 'e', room: 'r', sender: 's', targets: [], frame })
  assert.equal(record.length, 1 + 2 + 2 + 2 + 2 + frame.length)
})

test('bytes that are no record are told from one', () => {
  for (const bytes of [[], [9, 0, 0], [1], [2, 1, 101, 1, 114, 123], [2, 200, 101, 1, 114]]) assert.throws(() => decodeRecord(Buffer.from(bytes)), `${bytes.join()}`)
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
    try { decodeRecord(Buffer.from(bytes)) } catch (error) { assert.ok(error instanceof RangeError || error instanceof SyntaxError, String(error)) }
  }), { numRuns: 1000 })
})

test('a record whose frame is not one that a relay has built, or whose change is half a change, is refused', () => {
  const data = (frame: Buffer): Buffer => encodeRecord({ kind: 'data', epoch: 'e', room: 'r', sender: 's', targets: ['a'], frame })
  const whole = relayFrame(relayPrefix(FROM, 'r'), Buffer.from('{"type":"data","data":1}'))
  assert.equal(decodeRecord(data(whole)).kind, 'data')
  assert.equal(decodeRecord(data(frameOf({ type: 'data', from: FROM, room: 'r', data: 1 }))).kind, 'data')
  for (const frame of [Buffer.alloc(0), whole.subarray(0, -1), Buffer.concat([whole, whole]), frameOf({ type: 'pong' }), Buffer.from([0x88, 0]), Buffer.from([0x81, 126, 0])]) {
    assert.throws(() => decodeRecord(data(frame)), RangeError, frame.toString('latin1'))
  }
  const change = (json: string): Buffer => Buffer.concat([Buffer.from([2, 1, 101, 1, 114]), Buffer.from(json)])
  assert.equal(decodeRecord(change('{"kind":"left","version":2,"connectionId":"a"}')).kind, 'change')
  for (const json of ['null', '{}', '{"kind":"left","version":2}', '{"kind":"left","version":"2","connectionId":"a"}', '{"kind":"left","version":0,"connectionId":"a"}', '{"kind":"joined","version":2}', '{"kind":"joined","version":2,"member":{}}', '{"kind":"disbanded","version":2,"reason":"x"}']) {
    assert.throws(() => decodeRecord(change(json)), RangeError, json)
  }
})

test('a name that is too long for a record is refused rather than cut', () => {
  assert.throws(() => encodeRecord({ kind: 'data', epoch: 'e', room: 'r'.repeat(256), sender: 's', targets: [], frame: Buffer.alloc(0) }), RangeError)
})

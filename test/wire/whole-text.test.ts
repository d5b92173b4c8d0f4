import assert from 'node:assert/strict'
import type { Writable } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ws from 'ws'
import { wholeText } from '../../src/routes/whole-text.ts'

/** What the library reads a client's bytes with; its types do not tell of it. */
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean, maxPayload: number }) => Writable }

const MOST_BYTES = 70_000

/** A client's frame: whatever its first byte says, with a mask or without one, its length in the short form that holds it. */
function frameOf (first: number, payload: Buffer, mask: Buffer | undefined): Buffer {
  const bit = mask === undefined ? 0 : 0x80
  let head: Buffer
  if (payload.length < 126) head = Buffer.of(first, bit | payload.length)
  else if (payload.length < 65_536) head = Buffer.of(first, bit | 126, payload.length >> 8, payload.length & 0xff)
  else {
    head = Buffer.alloc(10)
    head[0] = first
    head[1] = bit | 127
    head.writeUInt32BE(payload.length, 6)
  }
  return Buffer.concat([head, mask ?? Buffer.alloc(0), payload.map((byte, i) => byte ^ (mask?.[i % 4] ?? 0))])
}

/** What the library makes of the same bytes: its first message. */
function libraryReads (bytes: Buffer): { data: Buffer, isBinary: boolean } | undefined {
  const receiver = new Receiver({ isServer: true, maxPayload: MOST_BYTES })
  const messages: Array<{ data: Buffer, isBinary: boolean }> = []
  receiver.on('message', (data: Buffer, isBinary: boolean) => { messages.push({ data: Buffer.from(data), isBinary }) })
  receiver.on('error', () => {})
  receiver.write(Buffer.from(bytes))
  return messages[0]
}

const first = fc.oneof({ weight: 4, arbitrary: fc.constant(0x81) }, fc.integer({ min: 0, max: 255 }))
const payload = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 200 }).map(text => Buffer.from(text)),
  fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes)),
  fc.constantFrom(0, 125, 126, 127, 65_535, 65_536, MOST_BYTES, MOST_BYTES + 1).map(length => Buffer.alloc(length, 'a'))
)
const mask = fc.option(fc.uint8Array({ minLength: 4, maxLength: 4 }).map(bytes => Buffer.from(bytes)), { nil: undefined, freq: 8 })
const frames = fc.array(fc.record({ first, payload, mask }), { minLength: 1, maxLength: 3 })
  .map(list => Buffer.concat(list.map(({ first, payload, mask }) => frameOf(first, payload, mask))))

test('what is read without the library is what the library reads; all else is left as it was', () => {
  let taken = 0
  fc.assert(fc.property(frames, fc.oneof({ weight: 2, arbitrary: fc.constant(1) }, fc.double({ min: 0, max: 1, noNaN: true })), fc.nat({ max: 9 }), (bytes, kept, offset) => {
    const sent = bytes.subarray(0, Math.floor(bytes.length * kept))
    const chunk = Buffer.concat([Buffer.alloc(offset), sent])
    const text = wholeText(chunk, offset, chunk.length, MOST_BYTES)
    if (text === undefined) {
      assert.ok(chunk.subarray(offset).equals(sent), 'the library reads what came')
      return
    }
    taken++
    const message = libraryReads(sent)
    assert.equal(message?.isBinary, false)
    assert.ok(message.data.equals(text))
  }), { numRuns: 3000 })
  assert.ok(taken > 500, `${taken} of 3000 were usual`)
})

test('a usual message is read without the library, at every length of the header that clients use', () => {
  for (const length of [0, 1, 2, 3, 4, 5, 125, 126, 2400, 65_535]) {
    const frame = frameOf(0x81, Buffer.alloc(length, 'x'), Buffer.from('mask'))
    assert.equal(wholeText(frame, 0, frame.length, MOST_BYTES)?.toString(), 'x'.repeat(length))
    const short = frameOf(0x81, Buffer.alloc(length, 'x'), Buffer.from('mask'))
    assert.equal(wholeText(short, 0, short.length - 1, MOST_BYTES), undefined, 'its last byte has not come')
  }
})

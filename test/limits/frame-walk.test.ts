import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FrameWalk } from '../../src/routes/frame-walk.ts'
import { CLOSE, frameFrom, PING, TEXT } from './flood.ts'

const frame = fc.record({ opcode: fc.constantFrom(TEXT, PING), length: fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(125, 126, 65_535, 65_536)) })
  .map(({ opcode, length }) => frameFrom(opcode, Buffer.alloc(opcode === PING ? Math.min(length, 125) : length)))

test('frames are counted, and their starts are found, however the stream is cut up', () => {
  fc.assert(fc.property(fc.array(frame, { minLength: 1, maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 40 })), fc.nat({ max: 25 }), (frames, sizes, allowance) => {
    const stream = Buffer.concat(frames)
    const walk = new FrameWalk()
    walk.allowance = allowance
    let at = 0
    for (let i = 0; at < stream.length; i++) {
      const end = Math.min(stream.length, at + (sizes[i] ?? 5000))
      const next = walk.advance(stream, at, end)
      at = next
      if (next < end) break
    }
    const expected = Buffer.concat(frames.slice(0, allowance)).length
    assert.equal(at, expected)
    assert.equal(walk.isBetween, true)
    assert.equal(walk.allowance, Math.max(0, allowance - frames.length))
  }))
})

test('nothing is walked over behind a Close frame', () => {
  const close = frameFrom(CLOSE, Buffer.from([0x03, 0xe8]))
  const stream = Buffer.concat([frameFrom(TEXT, '{}'), close, frameFrom(TEXT, '{}')])
  const walk = new FrameWalk()
  walk.allowance = Infinity
  assert.equal(walk.advance(stream, 0, stream.length), 8 + close.length)
  assert.ok(walk.isClose && walk.isBetween)
  assert.equal(walk.advance(stream, 8 + close.length, stream.length), 8 + close.length)
})
